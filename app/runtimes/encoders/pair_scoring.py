"""Cross-encoders: a query and texts in, a score for each pair out. The same numbers as sentence-transformers'
CrossEncoder."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from app.domain.version_settings import value_of
from app.domain.work import Event, Finished, ModelSpec
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.encoders.batch_times import time_batches
from app.runtimes.encoders.parallel_passes import ParallelPasses, passes_for
from app.runtimes.encoders.rows import padded
from app.runtimes.engines.candidates import Encoder, load_encoder
from app.runtimes.engines.engine_choice import Yardstick
from app.runtimes.engines.graph_network import LOGITS
from app.runtimes.known_ids import KnownIds
from app.runtimes.onnx import sessions
from app.runtimes.text_beginnings import first_size

BEGINNINGS = 8  # looked at of a text: 64 characters for each token that is read
MOST_PAIRS = 1_024
# A half-precision copy is used by `dtype: auto` when no probe's score moves further than this share of the
# scores' range.
LEAST_AGREEMENT = 0.99
PROBES = [
    ["what is celery", "Celery is a marshland plant in the family Apiaceae."],
    ["what is celery", "The whale is white."],
    ["how far is the moon", "The moon is 384,400 km away from the earth."],
    ["how far is the moon", "word " * 60],
]

TEXT = {"type": "string", "maxLength": 1_000_000}
PAIR = {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}
INPUTS = schema.inputs(
    {
        "query": schema.text("The text that every one of `texts` is scored against."),
        "texts": schema.array(TEXT, "Texts to score against `query`.", max_items=MOST_PAIRS),
        "pairs": schema.array(PAIR, "Instead of `query` and `texts`: pairs of texts.", max_items=MOST_PAIRS),
        "raw_scores": schema.boolean("The model's logits as they are, without a sigmoid.", default=False),
    },
    one_of=(("query", "texts"), ("pairs",)),
)
RAW = "raw"  # the batch key of those whose scores are logits
Row = tuple[list[int], list[int]]  # ids and types of a pair


class PairScoring(Runtime):
    """A score is what sentence-transformers' CrossEncoder gives for a single label: the logit through a
    sigmoid, or through the activation that the folder or the version says. Several labels are probabilities,
    where the folder names no activation. Length is the longest pair's tokens times the pairs."""

    ends_together: ClassVar[bool] = True
    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="pair-scoring",
        description="Scores pairs of texts, for example a query and candidate answers (cross-encoders).",
        inputs={"": INPUTS},
        outputs={
            "": {
                "title": "Output",
                "type": "array",
                "items": {"anyOf": [{"type": "number"}, {"type": "array"}]},
            }
        },
        reads=(*weights.PRECISION, *weights.ACCELERATION, *weights.ENGINES, *weights.ADAPTERS),
        config={
            **sessions.SETTINGS,
            "sigmoid": schema.boolean(
                "Map a single logit to 0…1. Default: as the model's folder says, else yes."
            ),
        },
    )

    def __init__(self, tokenizer: Any, model: ModelSpec) -> None:
        self._tokenizer, self._device = tokenizer, model.device
        self._config = model.config
        self._has_types = "token_type_ids" in tokenizer.model_input_names
        self._limit = int(tokenizer.model_max_length)
        self._pad = tokenizer.pad_token_id or 0
        self._activation: Any = None
        self._net: Any = None
        self._known_ids: KnownIds
        self._passes: ParallelPasses
        self._facts: dict[str, Any] = {}

    @classmethod
    def load(cls, model: ModelSpec) -> "PairScoring":
        from transformers import AutoConfig, AutoModelForSequenceClassification

        from app.runtimes.encoders.embedding import positions_of

        folder = weights.model_folder(model)
        runtime = cls(weights.load_tokenizer(folder, model), model)
        config = AutoConfig.from_pretrained(folder, **weights.loading_options(model))
        runtime._limit = min(runtime._limit, positions_of(config))
        if config.get_text_config().pad_token_id is not None:  # what the network takes for padding
            runtime._pad = config.get_text_config().pad_token_id
        runtime._activation = activation_for(folder, config.num_labels, model.config)
        encoder = Encoder(
            folder,
            AutoModelForSequenceClassification,
            config,
            LOGITS,
            passes_for(model),
            has_types=runtime._has_types,
        )
        runtime._net, runtime._facts = load_encoder(encoder, model, runtime._yardstick(model))
        runtime._known_ids = KnownIds(runtime._tokenizer, runtime._net)
        runtime.unpadded = "encoder" in runtime._facts
        runtime._passes = ParallelPasses(model, row_length, unpadded=runtime.unpadded)
        return runtime

    def _yardstick(self, model: ModelSpec) -> Yardstick:
        probes = self._tokenise(PROBES)
        ids, types = probes[-1]

        def seconds(net: Any, facts: dict[str, Any]) -> list[float]:
            return time_batches(
                model,
                lambda length: (ids[:length], types[:length]),
                lambda rows: self._scores(net, rows),
                row_length,
                unpadded="encoder" in facts,
            )

        least = value_of(model.config, "least_agreement")
        return Yardstick(
            lambda net: self._scores(net, probes),
            agreement,
            LEAST_AGREEMENT if least is None else least,
            seconds,
        )

    def prepare(self, job: Job) -> None:
        pairs = job.input.get("pairs") or [
            [job.input.get("query"), text] for text in job.input.get("texts") or []
        ]
        if not pairs or any(text is None for pair in pairs for text in pair):
            raise ValueError("give `query` and `texts`, or `pairs`; at least one pair")
        job.prepared = self._tokenise(pairs)
        self._known_ids.check(ids for ids, _ in job.prepared)
        if job.input.get("raw_scores"):
            job.batch_key = RAW
        job.length = max(len(ids) for ids, _ in job.prepared) * len(job.prepared)

    def _tokenise(self, pairs: Sequence[Sequence[str]]) -> list[Row]:
        # As in `tokenize_beginnings`; of a pair each text alone may fill the limit.
        size = BEGINNINGS * first_size(self._limit)
        firsts, seconds = [pair[0][:size] for pair in pairs], [pair[1][:size] for pair in pairs]
        encoded = self._tokenizer(firsts, seconds, truncation=True, max_length=self._limit)
        ids = [row or [self._pad] for row in encoded["input_ids"]]
        types = [row or [0] for row in encoded.get("token_type_ids") or [[0] * len(row) for row in ids]]
        return list(zip(ids, types, strict=True))

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        score = self._score_raw if batch[0].batch_key == RAW else self._score
        for done in self._passes.run_batch(batch, feed, score):
            tokens = sum(len(ids) for ids, _ in done.job.prepared)
            yield done.job.id, Finished(done.answers, {"input_tokens": tokens, "padding": done.padding})

    def _score(self, rows: Sequence[Row]) -> list[Any]:
        import torch

        with torch.inference_mode():
            return self._scores(self._net, rows).tolist()  # type: ignore[no-any-return]

    def _score_raw(self, rows: Sequence[Row]) -> list[Any]:
        import torch

        with torch.inference_mode():
            return without_width(self._logits(self._net, rows)).tolist()  # type: ignore[no-any-return]

    def _scores(self, net: Any, rows: Sequence[Row]) -> Any:
        return without_width(self._activation(self._logits(net, rows)))

    def _logits(self, net: Any, rows: Sequence[Row]) -> Any:
        ids, mask = padded([ids for ids, _ in rows], self._pad, self._device)
        more = (
            {"token_type_ids": padded([types for _, types in rows], 0, self._device)[0]}
            if self._has_types
            else {}
        )
        logits = last_token_logits(net, ids, mask)
        if logits is None:
            logits = net(input_ids=ids, attention_mask=mask, **more).logits
        return logits.float()

    def probe(self, length: int) -> dict[str, Any] | None:
        return {"query": "word", "texts": ["word " * max(1, length - 4)]}

    def facts(self) -> dict[str, Any]:
        return self._facts

    def warm_up(self) -> None:
        self._score(self._tokenise([["warm", "up"]]))

    def bytes(self) -> int:
        return weights.count_bytes(self._net)


def row_length(row: Row) -> int:
    """Cells of a row."""
    return len(row[0])


def without_width(scores: Any) -> Any:
    """A single label's scores as numbers."""
    return scores if scores.shape[1] > 1 else scores[:, 0]


def last_token_logits(net: Any, ids: Any, mask: Any) -> Any:
    """The logits of a decoder whose configuration names no padding: the library takes the last token of a
    single row, and refuses several. None for every other network."""
    import torch

    names_padding = net.config.get_text_config().pad_token_id is not None
    if names_padding or not hasattr(net, "score") or net.base_model is net:
        return None
    hidden = net.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
    return net.score(hidden[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1])


def activation_for(folder: Path, labels: int, config: dict[str, Any]) -> Any:
    """What logits are put through: what the version says, else the folder, else a sigmoid for one label and
    a softmax for several."""
    from torch import nn

    from app.runtimes.encoders.sentence_layers import activation_named

    if labels == 1 and config.get("sigmoid") is not None:
        return nn.Sigmoid() if config["sigmoid"] else nn.Identity()
    named = activation_named(_named_activation(folder))
    return named or (nn.Sigmoid() if labels == 1 else nn.Softmax(-1))


def _named_activation(folder: Path) -> str:
    own, config = (_json(folder / name) for name in ("config_sentence_transformers.json", "config.json"))
    inside = config.get("sentence_transformers") or {}
    old = config.get("sbert_ce_default_activation_function")
    return str(own.get("activation_fn") or inside.get("activation_fn") or old or "")


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def agreement(ours: Any, theirs: Any) -> float:
    """1 minus the largest difference as a share of the scores' range; 0 when a row's best label changes.
    A range below 1 counts as 1: a sigmoid of a random model moves by thousandths only."""
    if ours.ndim > 1 and (ours.argmax(1) != theirs.argmax(1)).any():
        return 0.0
    span = float((ours.max() - ours.min()).clamp(min=1.0))
    return 1.0 - float((ours - theirs).abs().max()) / span
