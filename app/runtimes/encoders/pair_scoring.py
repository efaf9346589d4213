"""Cross-encoders: a query and texts in, a score for each pair out. The same numbers as sentence-transformers'
CrossEncoder."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from app.domain.work import Event, Finished, ModelSpec
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.encoders.parallel_passes import ParallelPasses
from app.runtimes.encoders.rows import padded

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
        "raw_scores": schema.boolean("A model's single logit as it is, without a sigmoid.", default=False),
    },
    one_of=(("query", "texts"), ("pairs",)),
)
RAW = "raw"  # the batch key of those whose scores are logits
Row = tuple[list[int], list[int]]  # ids and types of a pair


class PairScoring(Runtime):
    """A score is the model's single logit, through a sigmoid unless the folder or the version says otherwise;
    a model of several labels gives a list of their probabilities. Length is the longest pair's tokens times
    the pairs."""

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
        reads=(*weights.PRECISION, *weights.ACCELERATION),
        config={
            "sigmoid": schema.boolean(
                "Map a single logit to 0…1. Default: as the model's folder says, else yes."
            ),
        },
    )

    def __init__(self, tokenizer: Any, model: ModelSpec, sigmoid: bool) -> None:
        self._tokenizer, self._device = tokenizer, model.device
        self._sigmoid = model.config.get("sigmoid", sigmoid)
        self._pad = tokenizer.pad_token_id or 0
        self._has_types = "token_type_ids" in tokenizer.model_input_names
        self._limit = int(tokenizer.model_max_length)
        self._net: Any = None
        self._passes: ParallelPasses
        self._facts: dict[str, Any] = {}

    @classmethod
    def load(cls, model: ModelSpec) -> "PairScoring":
        from transformers import AutoConfig, AutoModelForSequenceClassification

        from app.runtimes.dtype_choice import Comparison
        from app.runtimes.encoders.embedding import positions_of

        folder = weights.model_folder(model)
        runtime = cls(weights.load_tokenizer(folder, model), model, wants_sigmoid(folder))
        runtime._limit = min(
            runtime._limit, positions_of(AutoConfig.from_pretrained(folder, **weights.loading_options(model)))
        )
        probes = runtime._tokenise(PROBES)
        comparison = Comparison(lambda net: runtime._scores(net, probes), agreement, LEAST_AGREEMENT)
        runtime._net, runtime._facts = weights.load_network(
            AutoModelForSequenceClassification, model, comparison
        )
        runtime.unpadded = "encoder" in runtime._facts
        runtime._passes = ParallelPasses(model, length=lambda row: len(row[0]), unpadded=runtime.unpadded)
        return runtime

    def prepare(self, job: Job) -> None:
        pairs = job.input.get("pairs") or [
            [job.input.get("query"), text] for text in job.input.get("texts") or []
        ]
        if not pairs or any(text is None for pair in pairs for text in pair):
            raise ValueError("give `query` and `texts`, or `pairs`; at least one pair")
        job.prepared = self._tokenise(pairs)
        job.length = max(len(ids) for ids, _ in job.prepared) * len(job.prepared)
        if self._sigmoid and job.input.get("raw_scores"):
            job.batch_key = RAW

    def _tokenise(self, pairs: Sequence[Sequence[str]]) -> list[Row]:
        firsts, seconds = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        encoded = self._tokenizer(firsts, seconds, truncation=True, max_length=self._limit)
        types = encoded.get("token_type_ids") or [[0] * len(row) for row in encoded["input_ids"]]
        return list(zip(encoded["input_ids"], types, strict=True))

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
            logits = self._logits(self._net, rows)
            return (logits[:, 0] if logits.shape[1] == 1 else logits).tolist()  # type: ignore[no-any-return]

    def _scores(self, net: Any, rows: Sequence[Row]) -> Any:
        logits = self._logits(net, rows)
        if logits.shape[1] > 1:
            return logits.softmax(-1)
        return logits[:, 0].sigmoid() if self._sigmoid else logits[:, 0]

    def _logits(self, net: Any, rows: Sequence[Row]) -> Any:
        ids, mask = padded([ids for ids, _ in rows], self._pad, self._device)
        more = (
            {"token_type_ids": padded([types for _, types in rows], 0, self._device)[0]}
            if self._has_types
            else {}
        )
        return net(input_ids=ids, attention_mask=mask, **more).logits.float()

    def probe(self, length: int) -> dict[str, Any] | None:
        return {"query": "word", "texts": ["word " * max(1, length - 4)]}

    def facts(self) -> dict[str, Any]:
        return self._facts

    def warm_up(self) -> None:
        self._score(self._tokenise([["warm", "up"]]))

    def bytes(self) -> int:
        return weights.count_bytes(self._net)


def wants_sigmoid(folder: Path) -> bool:
    """What sentence-transformers would do with a single logit: its own keys of config.json, else a
    sigmoid."""
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    named = (config.get("sentence_transformers") or {}).get("activation_fn")
    return "Identity" not in str(named or config.get("sbert_ce_default_activation_function") or "")


def agreement(ours: Any, theirs: Any) -> float:
    """1 minus the largest difference as a share of the scores' range; 0 when a row's best label changes.
    A range below 1 counts as 1: a sigmoid of a random model moves by thousandths only."""
    if ours.ndim > 1 and (ours.argmax(1) != theirs.argmax(1)).any():
        return 0.0
    span = float((ours.max() - ours.min()).clamp(min=1.0))
    return 1.0 - float((ours - theirs).abs().max()) / span
