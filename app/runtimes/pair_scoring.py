"""Cross-encoders: a query and texts in, a score for each pair out."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from app.domain.work import Event, Finished, ModelSpec
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec

MOST_PAIRS = 1_024
BUDGET = 4_096  # tokens of one forward pass, padding included

TEXT = {"type": "string", "maxLength": 1_000_000}
PAIR = {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}
INPUTS = schema.inputs(
    {
        "query": schema.text("The text that every one of `texts` is scored against."),
        "texts": schema.array(TEXT, "Texts to score against `query`.", max_items=MOST_PAIRS),
        "pairs": schema.array(PAIR, "Instead of `query` and `texts`: pairs of texts.", max_items=MOST_PAIRS),
    }
)


class PairScoring(Runtime):
    """A score is the model's single logit, through a sigmoid unless configured otherwise; several labels give a list."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="pair-scoring",
        description="Scores pairs of texts, for example a query and candidate answers (cross-encoders).",
        inputs={"": INPUTS},
        outputs={"": {"title": "Output", "type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "array"}]}}},
        config={**weights.CONFIG, "sigmoid": schema.boolean("Map a single logit to 0…1.", default=True)},
    )

    def __init__(self, tokenizer: Any, net: Any, model: ModelSpec) -> None:
        self._tokenizer, self._net, self._device = tokenizer, net, model.device
        self._sigmoid = model.config.get("sigmoid", True)
        positions = getattr(net.config, "max_position_embeddings", None) or 512
        self._limit = min(positions, tokenizer.model_max_length)

    @classmethod
    def load(cls, model: ModelSpec) -> "PairScoring":
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = weights.folder_of(model)
        kwargs = weights.loading(model)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=model.trust_remote_code)
        return cls(
            tokenizer, weights.finished(AutoModelForSequenceClassification.from_pretrained(folder, **kwargs), model), model
        )

    def prepare(self, job: Job) -> None:
        pairs = job.input.get("pairs") or [[job.input.get("query"), text] for text in job.input.get("texts") or []]
        if not pairs or any(text is None for pair in pairs for text in pair):
            raise ValueError("give `query` and `texts`, or `pairs`; at least one pair")
        encoded = self._tokenizer([a for a, _ in pairs], [b for _, b in pairs], truncation=True, max_length=self._limit)
        types = encoded.get("token_type_ids") or [[0] * len(row) for row in encoded["input_ids"]]
        job.prepared = list(zip(encoded["input_ids"], types, strict=True))
        job.length = max(len(ids) for ids, _ in job.prepared) * len(job.prepared)

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        rows = [row for job in batch for row in job.prepared]
        scores: list[Any] = [None] * len(rows)
        for part in cut_by_length([len(ids) for ids, _ in rows], BUDGET):
            for n, score in zip(part, self._forward([rows[n] for n in part]), strict=True):
                scores[n] = score
        at = 0
        for job in batch:
            own = scores[at : at + len(job.prepared)]
            at += len(own)
            yield job.id, Finished(own, {"input_tokens": sum(len(ids) for ids, _ in job.prepared)})

    def _forward(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[Any]:
        import torch

        longest = max(len(ids) for ids, _ in rows)
        pad = self._tokenizer.pad_token_id or 0

        def tensor(lists: Sequence[list[int]], fill: int) -> Any:
            return torch.tensor([one + [fill] * (longest - len(one)) for one in lists], device=self._device)

        given = {
            "input_ids": tensor([ids for ids, _ in rows], pad),
            "attention_mask": tensor([[1] * len(ids) for ids, _ in rows], 0),
        }
        if "token_type_ids" in self._tokenizer.model_input_names:
            given["token_type_ids"] = tensor([types for _, types in rows], 0)
        with torch.inference_mode():
            logits = self._net(**given).logits.float()
            if logits.shape[1] == 1:
                logits = logits[:, 0]
                return (logits.sigmoid() if self._sigmoid else logits).tolist()  # type: ignore[no-any-return]
            return logits.softmax(-1).tolist()  # type: ignore[no-any-return]

    def bytes(self) -> int:
        return weights.size_of(self._net)


def cut_by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices in groups of similar length whose rows times longest stays within `budget` (a row over it goes alone)."""
    group: list[int] = []
    for n in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if group and (len(group) + 1) * lengths[n] > budget:
            yield group
            group = []
        group.append(n)
    if group:
        yield group
