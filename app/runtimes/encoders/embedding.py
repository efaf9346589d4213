"""Sentence embeddings: an encoder, pooling, normalised. Numerically the same as sentence-transformers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from app.domain.work import Event, Finished, ModelSpec
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.encoders import sentence_folder
from app.runtimes.encoders.fast_tokenize import fast_tokenize
from app.runtimes.encoders.parallel_passes import ParallelPasses
from app.runtimes.encoders.rows import padded
from app.runtimes.encoders.sentence_folder import POOLINGS, SentenceFolder

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
RAW = "raw"  # the batch key of those whose vectors stay as long as they are
VECTOR = {"type": "array", "items": {"type": "number"}}


class Embedding(Runtime):
    """Length is the longest text's tokens times the texts; a list is answered as a list of vectors."""

    ends_together: ClassVar[bool] = True
    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="embedding",
        description="Turns texts into vectors (sentence encoders).",
        inputs={"": INPUTS},
        outputs={"": {"title": "Output", "anyOf": [VECTOR, {"type": "array", "items": VECTOR}]}},
        reads=(*weights.PRECISION, *weights.ACCELERATION),
        config={
            "pooling": {
                "type": "string",
                "enum": list(POOLINGS),
                "description": "Default: as the model's folder says.",
            },
            "normalize": schema.boolean("Scale vectors to length 1. Default: as the model's folder says."),
            "prompt": schema.text(
                "Put before every text. Default: as the model's folder says.", max_length=10_000
            ),
        },
    )

    def __init__(self, tokenizer: Any, model: ModelSpec, folder: SentenceFolder, positions: int) -> None:
        self._tokenizer, self._device = tokenizer, model.device
        self._pooling = model.config.get("pooling", folder.pooling)
        self._normalize = model.config.get("normalize", folder.normalize)
        self._prompt, self._lower = model.config.get("prompt", folder.prompt), folder.lower
        self._prompts = folder.prompts
        self._limit = min(folder.limit or positions, positions, tokenizer.model_max_length)
        self._token_ids = fast_tokenize(tokenizer, self._limit)
        self._pad = tokenizer.pad_token_id or 0
        self._net: Any = None
        self._passes: ParallelPasses
        self._facts: dict[str, Any] = {}

    @classmethod
    def load(cls, model: ModelSpec) -> "Embedding":
        from transformers import AutoConfig, AutoModel

        from app.runtimes.dtype_choice import Comparison

        folder = weights.model_folder(model)
        tokenizer = weights.load_tokenizer(folder, model)
        positions = positions_of(AutoConfig.from_pretrained(folder, **weights.loading_options(model)))
        runtime = cls(tokenizer, model, sentence_folder.read(folder), positions)
        probes = runtime._tokenise(list(PROBES))
        comparison = Comparison(lambda net: runtime._vectors(net, probes), least_cosine, LEAST_COSINE)
        runtime._net, runtime._facts = weights.load_network(AutoModel, model, comparison)
        runtime.unpadded = "encoder" in runtime._facts
        runtime._passes = ParallelPasses(model, unpadded=runtime.unpadded)
        if runtime.unpadded:
            runtime._net.pooler = None  # its answer is not asked for
        return runtime

    def prepare(self, job: Job) -> None:
        texts = job.input["text"]
        prompt = choose_prompt(job.input, self._prompts, self._prompt)
        job.prepared = self._tokenise([texts] if isinstance(texts, str) else texts, prompt)
        job.length = max(map(len, job.prepared)) * len(job.prepared)
        if self._normalize and job.input.get("normalize") is False:
            job.batch_key = RAW

    def _tokenise(self, inputs: Sequence[str | list[int]], prompt: str = "") -> list[list[int]]:
        """Token ids of each; what is token ids already is checked, cut and otherwise used as it is."""
        texts = [text for text in inputs if isinstance(text, str)]
        if prompt or self._lower:
            texts = [prompt + (text.lower() if self._lower else text) for text in texts]
        ids = iter(self._token_ids(texts))
        rows = (next(ids) if isinstance(each, str) else self._checked(each) for each in inputs)
        return [row or [self._pad] for row in rows]

    def _checked(self, ids: list[int]) -> list[int]:
        if max(ids) >= len(self._tokenizer):
            raise ValueError(
                f"text: the tokenizer has {len(self._tokenizer)} ids; {max(ids)} is none of them"
            )
        return ids[: self._limit]

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        embed = self._embed_raw if batch[0].batch_key == RAW else self._embed
        for done in self._passes.run_batch(batch, feed, embed):
            output = done.answers[0] if isinstance(done.job.input["text"], str) else done.answers
            tokens = sum(map(len, done.job.prepared))
            yield done.job.id, Finished(output, {"input_tokens": tokens, "padding": done.padding})

    def _embed(self, rows: Sequence[list[int]]) -> Any:
        """(rows, width) as an array.

        Arrays, not lists: they travel with the fewest digits that tell 32-bit floats apart, half of what the
        same numbers take as Python's floats.
        """
        import torch

        with torch.inference_mode():
            return self._vectors(self._net, rows).cpu().numpy()

    def _embed_raw(self, rows: Sequence[list[int]]) -> Any:
        """The same, as long as the model makes them."""
        import torch

        with torch.inference_mode():
            return self._pooled(self._net, rows).cpu().numpy()

    def _vectors(self, net: Any, rows: Sequence[list[int]]) -> Any:
        import torch

        vectors = self._pooled(net, rows)
        return torch.nn.functional.normalize(vectors, dim=1) if self._normalize else vectors

    def _pooled(self, net: Any, rows: Sequence[list[int]]) -> Any:
        import torch

        coarse = self._device == "cpu" and net.dtype != torch.float32 and not self.unpadded
        ids, mask = padded(rows, self._pad, self._device, coarse=coarse)
        # The library takes a while to see that the mask of a single row hides nothing.
        needs_mask = not (self.unpadded and len(rows) == 1)
        hidden = net(input_ids=ids, attention_mask=mask if needs_mask else None).last_hidden_state.float()
        return pooled(hidden, mask, self._pooling)

    def probe(self, length: int) -> dict[str, Any] | None:
        return {"text": "word " * max(1, length - 2)}

    def facts(self) -> dict[str, Any]:
        return self._facts

    def warm_up(self) -> None:
        self._embed(self._tokenise(["warm up"]))

    def bytes(self) -> int:
        return weights.count_bytes(self._net)


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


def pooled(hidden: Any, mask: Any, pooling: str) -> Any:
    """(rows, width) from (rows, tokens, width); padding, on the right, counts for nothing."""
    import torch

    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "lasttoken":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    if pooling == "max":
        return hidden.masked_fill(mask[:, :, None] == 0, float("-inf")).amax(1)
    weight = mask.float()
    if pooling == "weightedmean":
        weight = weight * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    total = weight.sum(1, keepdim=True).clamp(min=1e-9)
    return (hidden * weight[:, :, None]).sum(1) / (total.sqrt() if pooling == "mean_sqrt_len" else total)


def positions_of(config: Any) -> int:
    """Tokens that the encoder has positions for; RoBERTa and its kin number them from the padding's id on."""
    positions = getattr(config, "max_position_embeddings", None) or 2**31
    shifted = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}
    return int(positions - (config.pad_token_id or 0) - 1 if config.model_type in shifted else positions)


def least_cosine(ours: Any, theirs: Any) -> float:
    import torch

    return float(torch.nn.functional.cosine_similarity(ours, theirs, dim=1).min())
