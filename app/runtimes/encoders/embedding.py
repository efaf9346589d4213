"""Sentence embeddings: an encoder, poolings, and the layers behind them. Numerically the same as
sentence-transformers, of every layout that `sentence_folder` reads."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from app.domain.version_settings import value_of
from app.domain.work import Event, Finished, ModelSpec
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.encoders import sentence_folder
from app.runtimes.encoders.batch_times import time_batches
from app.runtimes.encoders.fast_tokenize import Tokenize, fast_tokenize
from app.runtimes.encoders.parallel_passes import ParallelPasses, passes_for
from app.runtimes.encoders.rows import padded
from app.runtimes.encoders.sentence_folder import POOLINGS, Layer, SentenceFolder
from app.runtimes.engines.candidates import Encoder, load_encoder
from app.runtimes.engines.engine_choice import Yardstick
from app.runtimes.engines.graph_network import HIDDEN
from app.runtimes.known_ids import KnownIds
from app.runtimes.onnx import sessions

MOST_TEXTS = 2_048
# A bfloat16 copy is used by `dtype: auto` when no probe text's vector turns further than this.
LEAST_COSINE = 0.999
PROBES = (
    "hello",
    "Which planet is the largest one?",
    (
        "Celery, parsley, carrot and lovage are of one family; the first is eaten, the last is smelled from"
        " afar."
    ),
    "word " * 120,
)

TEXT = {"type": "string", "maxLength": 1_000_000}
TOKENS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 10_000_000},
    "minItems": 1,
    "maxItems": 100_000,
}
INPUTS = schema.inputs(
    {
        "text": {
            "description": (
                "A text, or a list of texts, to embed; a list of the tokenizer's ids stands for a text."
                " Longer ones are cut at the model's limit."
            ),
            "anyOf": [
                TEXT,
                {"type": "array", "items": {"anyOf": [TEXT, TOKENS]}, "minItems": 1, "maxItems": MOST_TEXTS},
            ],
        },
        "prompt_name": schema.text("Which of the model's prompts is put before the texts.", max_length=100),
        "input_type": schema.text(
            "What the texts are, e.g. query or document: the prompt of that name, if the model has any.",
            max_length=100,
        ),
        "prompt": schema.text("Put before the texts instead of the model's own prompt.", max_length=10_000),
        "normalize": schema.boolean("Scale vectors to length 1. Default: as the version does."),
    },
    required=("text",),
)
# What other platforms call what a text is for.
SAME_TYPES = (
    {"query", "search_query", "retrieval.query", "question"},
    {"document", "passage", "search_document", "retrieval.passage", "corpus"},
)
RAW, SCALED = "raw", "scaled"  # the batch keys of those whose vectors are not as the version makes them
Row = tuple[list[int], int]  # ids of a text, and how many of them (a prompt's) are not pooled
VECTOR = {"type": "array", "items": {"type": "number"}}


class Embedding(Runtime):
    """Length is the longest text's tokens times the texts; a list is answered as a list of vectors."""

    ends_together: ClassVar[bool] = True
    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="embedding",
        description="Turns texts into vectors (sentence encoders).",
        inputs={"": INPUTS},
        outputs={"": {"title": "Output", "anyOf": [VECTOR, {"type": "array", "items": VECTOR}]}},
        reads=(*weights.PRECISION, *weights.ACCELERATION, *weights.ENGINES, *weights.ADAPTERS),
        config={
            "pooling": {
                "type": "string",
                "enum": list(POOLINGS),
                "description": "Default: as the model's folder says.",
            },
            **sessions.SETTINGS,
            "normalize": schema.boolean("Scale vectors to length 1. Default: as the model's folder says."),
            "prompt": schema.text(
                "Put before every text. Default: as the model's folder says.", max_length=10_000
            ),
        },
    )

    def __init__(self, model: ModelSpec, folder: SentenceFolder) -> None:
        self._device = model.device
        self._folder = with_config(folder, model.config)
        self._tokenizer: Any = None
        self._token_ids: Tokenize
        self._known_ids: KnownIds
        self._pad = 0
        self._limit = 2**31
        self._net: Any = None
        self._layers: Any = None
        self._raw_layers: Any = None
        self._scaled_layers: Any = None
        self._passes: ParallelPasses
        self._facts: dict[str, Any] = {}
        self._prompt_lengths: dict[str, int] = {}

    @classmethod
    def load(cls, model: ModelSpec) -> "Embedding":
        from app.runtimes.encoders.sentence_layers import load_layers, with_length, without_length

        runtime = cls(model, sentence_folder.read(weights.model_folder(model)))
        runtime._layers = load_layers(runtime._folder.layers, model.device)
        runtime._raw_layers = without_length(runtime._layers)
        runtime._scaled_layers = with_length(runtime._layers)
        if runtime._folder.is_static:
            if model.adapter:
                raise ValueError("static embeddings take no adapter")
            runtime._load_static()
        else:
            runtime._load_encoder(model)
        runtime._known_ids = KnownIds(runtime._tokenizer, runtime._net)
        runtime._passes = ParallelPasses(model, row_length, unpadded=runtime.unpadded)
        return runtime

    def _load_static(self) -> None:
        from transformers import PreTrainedTokenizerFast

        from app.runtimes.encoders.sentence_layers import load_static

        self._net, tokenizer = load_static(self._folder.encoder, self._device)
        self._tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
        self._token_ids = lambda texts: [
            encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)
        ]
        self._facts, self.unpadded = {"dtype": "float32"}, True

    def _load_encoder(self, model: ModelSpec) -> None:
        folder = self._folder
        config = load_config(folder.encoder, model)
        self._tokenizer = tokenizer = weights.load_tokenizer(folder.encoder, model)
        if folder.lower:
            lower_texts(tokenizer)
        positions = positions_of(config)
        self._limit = min(folder.limit or positions, positions, tokenizer.model_max_length)
        self._token_ids = fast_tokenize(tokenizer, self._limit)
        self._pad = tokenizer.pad_token_id or 0
        encoder = Encoder(
            folder.encoder, encoder_class(config), config, HIDDEN, passes_for(model), spare=("pooler.",)
        )
        self._net, self._facts = load_encoder(encoder, model, self._yardstick(model))
        self._drop_pooler(self._net, self._facts)

    def _drop_pooler(self, net: Any, facts: dict[str, Any]) -> None:
        """Its answer is not asked for."""
        self.unpadded = "encoder" in facts
        if self.unpadded:
            net.pooler = None

    def _yardstick(self, model: ModelSpec) -> Yardstick:
        prompt = self._folder.default_prompt
        probes, row = self._tokenise(list(PROBES), prompt), self._tokenise([PROBES[-1]], "")[0][0]

        def seconds(net: Any, facts: dict[str, Any]) -> list[float]:
            self._drop_pooler(net, facts)
            return time_batches(
                model,
                lambda length: (row[:length], 0),
                lambda rows: self._vectors(net, rows, self._layers),
                row_length,
                unpadded=self.unpadded,
            )

        least = value_of(model.config, "least_agreement")
        return Yardstick(
            lambda net: self._vectors(net, probes, self._layers),
            least_cosine,
            LEAST_COSINE if least is None else least,
            seconds,
        )

    def prepare(self, job: Job) -> None:
        texts = job.input["text"]
        prompt = choose_prompt(job.input, self._folder.prompts, self._folder.default_prompt)
        job.prepared = self._tokenise([texts] if isinstance(texts, str) else texts, prompt)
        job.length = max(map(row_length, job.prepared)) * len(job.prepared)
        if (normalize := job.input.get("normalize")) is not None:
            job.batch_key = SCALED if normalize else RAW

    def _tokenise(self, inputs: Sequence[str | list[int]], prompt: str) -> list[Row]:
        """Token ids of each; what is token ids already is checked, cut and otherwise used as it is."""
        texts = [prompt + text for text in inputs if isinstance(text, str)]
        token_ids = self._token_ids(texts)
        if self._net is not None:  # not yet, for the probes
            self._known_ids.check(token_ids)
        skipped = self._prompt_length(prompt) if prompt and not self._folder.include_prompt else 0
        ids = iter(token_ids)
        rows = [
            (next(ids), skipped) if isinstance(each, str) else (self._checked(each), 0) for each in inputs
        ]
        return rows if self._folder.is_static else [(row or [self._pad], skip) for row, skip in rows]

    def _prompt_length(self, prompt: str) -> int:
        """Tokens of a prompt alone, without a special one that ends them."""
        if prompt not in self._prompt_lengths:
            ids = self._token_ids([prompt])[0]
            self._prompt_lengths[prompt] = len(ids) - (ids[-1] in self._tokenizer.all_special_ids)
        return self._prompt_lengths[prompt]

    def _checked(self, ids: list[int]) -> list[int]:
        known = min(len(self._tokenizer), self._known_ids.rows or len(self._tokenizer))
        if max(ids) >= known:
            raise ValueError(f"text: the model has {known} ids; {max(ids)} is none of them")
        return ids[: self._limit]

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        others = {RAW: self._raw_layers, SCALED: self._scaled_layers}
        layers = others.get(str(batch[0].batch_key), self._layers)
        for done in self._passes.run_batch(batch, feed, lambda rows: self._embed(rows, layers)):
            output = done.answers[0] if isinstance(done.job.input["text"], str) else done.answers
            tokens = sum(map(row_length, done.job.prepared))
            yield done.job.id, Finished(output, {"input_tokens": tokens, "padding": done.padding})

    def _embed(self, rows: Sequence[Row], layers: Any) -> Any:
        """(rows, width) as an array.

        Arrays, not lists: they travel with the fewest digits that tell 32-bit floats apart, half of what the
        same numbers take as Python's floats.
        """
        import torch

        with torch.inference_mode():
            return self._vectors(self._net, rows, layers).cpu().numpy()

    def _vectors(self, net: Any, rows: Sequence[Row], layers: Any) -> Any:
        ids = [row for row, _ in rows]
        pooled = net(ids) if self._folder.is_static else self._pool(net, ids, [skip for _, skip in rows])
        vectors = layers(pooled)
        return vectors[:, : self._folder.width] if self._folder.width else vectors

    def _pool(self, net: Any, rows: Sequence[list[int]], skipped: list[int]) -> Any:
        """(rows, width): the encoder's states, pooled."""
        import torch

        from app.runtimes.encoders.sentence_layers import pooled

        coarse = self._device == "cpu" and net.dtype != torch.float32 and not self.unpadded
        ids, mask = padded(rows, self._pad, self._device, coarse=coarse)
        # The library takes a while to see that the mask of a single row hides nothing.
        needs_mask = not (self.unpadded and len(rows) == 1)
        hidden = net(input_ids=ids, attention_mask=mask if needs_mask else None).last_hidden_state.float()
        return pooled(hidden, mask, torch.tensor(skipped, device=self._device), self._folder.poolings)

    def probe(self, length: int) -> dict[str, Any] | None:
        return {"text": "word " * max(1, length - 2)}

    def facts(self) -> dict[str, Any]:
        return self._facts

    def warm_up(self) -> None:
        self._embed(self._tokenise(["warm up"], self._folder.default_prompt), self._layers)

    def bytes(self) -> int:
        return weights.count_bytes(self._net) + weights.count_bytes(self._layers)


def row_length(row: Row) -> int:
    """Cells of a row; an empty text is one, too."""
    return max(1, len(row[0]))


def with_config(folder: SentenceFolder, config: dict[str, Any]) -> SentenceFolder:
    """The folder with what the version's configuration says otherwise."""
    if pooling := config.get("pooling"):
        folder = replace(folder, poolings=(pooling,))
    if (prompt := config.get("prompt")) is not None:
        folder = replace(folder, default_prompt=prompt)
    if (normalize := config.get("normalize")) is not None:
        others = [layer for layer in folder.layers if layer.kind != "Normalize"]
        layers = [*others, Layer("Normalize", folder.encoder)] if normalize else others
        folder = replace(folder, layers=tuple(layers))
    return folder


def choose_prompt(values: Mapping[str, Any], prompts: Mapping[str, str], default: str) -> str:
    """What is put before the texts of a request. Raises ValueError with a sentence."""
    wishes = [name for name in ("prompt", "prompt_name", "input_type") if values.get(name) is not None]
    if len(wishes) > 1:
        raise ValueError(f"{wishes[1]}: stands for {wishes[0]}, which is there too")
    if not wishes:
        return default
    name = str(values[wishes[0]])
    if wishes[0] == "prompt":
        return name
    if wishes[0] == "input_type" and not prompts:
        return default  # to a model without prompts all texts are alike
    names = {name} | next((kind for kind in SAME_TYPES if wishes[0] == "input_type" and name in kind), set())
    chosen = next((prompts[each] for each in prompts if each in names), None)
    if chosen is None:
        known = ", ".join(prompts) or "none"
        raise ValueError(f"{wishes[0]}: the model has no prompt {name[:100]!r}; it has: {known}")
    return chosen


def load_config(folder: Path, model: ModelSpec) -> Any:
    """transformers' configuration of the encoder."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, **weights.loading_options(model))


def encoder_class(config: Any) -> Any:
    """The auto class that loads this encoder: of models that have a decoder, the encoder alone."""
    from transformers import AutoModel, AutoModelForTextEncoding

    encoders = AutoModelForTextEncoding._model_mapping
    is_half = type(config) in encoders and encoders[type(config)].__name__.endswith("EncoderModel")
    return AutoModelForTextEncoding if is_half else AutoModel


def lower_texts(tokenizer: Any) -> None:
    """Makes a tokenizer lower texts first, as sentence-transformers does for `do_lower_case`."""
    from tokenizers.normalizers import Lowercase, Sequence

    backend = tokenizer.backend_tokenizer
    before = [backend.normalizer] if backend.normalizer else []
    backend.normalizer = Sequence([Lowercase(), *before])


def positions_of(config: Any) -> int:
    """Tokens that the encoder has positions for; RoBERTa and its kin number them from the padding's id on."""
    positions = getattr(config, "max_position_embeddings", None) or 2**31
    shifted = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}
    return int(positions - (config.pad_token_id or 0) - 1 if config.model_type in shifted else positions)


def least_cosine(ours: Any, theirs: Any) -> float:
    import torch

    return float(torch.nn.functional.cosine_similarity(ours, theirs, dim=1).min())
