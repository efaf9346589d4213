"""Sentence embeddings: an encoder, mean or CLS pooling, normalised. Numerically the same as sentence-transformers."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from app.domain.work import Event, Finished, ModelSpec
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec

ROWS = 64  # texts in one forward pass: beyond it a CPU gains nothing and padding grows
MOST_TEXTS = 2_048

INPUTS = schema.inputs(
    {
        "text": {
            "description": "A text, or a list of texts, to embed. Longer ones are cut at the model's limit.",
            "anyOf": [
                {"type": "string", "maxLength": 1_000_000},
                {"type": "array", "items": {"type": "string", "maxLength": 1_000_000}, "minItems": 1, "maxItems": MOST_TEXTS},
            ],
        }
    },
    required=("text",),
)
VECTOR = {"type": "array", "items": {"type": "number"}}


class Embedding(Runtime):
    """Length is the longest text's tokens times the texts; a list is answered as a list of vectors."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="embedding",
        description="Turns texts into vectors (sentence encoders).",
        inputs={"": INPUTS},
        outputs={"": {"title": "Output", "anyOf": [VECTOR, {"type": "array", "items": VECTOR}]}},
        config={
            **weights.CONFIG,
            "pooling": {"type": "string", "enum": ["mean", "cls"], "description": "Default: as the model's folder says."},
            "normalize": schema.boolean("Scale vectors to length 1.", default=True),
        },
    )

    def __init__(self, tokenizer: Any, net: Any, model: ModelSpec, settings: dict[str, Any]) -> None:
        self._tokenizer, self._net, self._device = tokenizer, net, model.device
        self._cls = settings["pooling"] == "cls"
        self._normalize = model.config.get("normalize", True)
        self._limit = settings["limit"]
        self._pad = tokenizer.pad_token_id or 0

    @classmethod
    def load(cls, model: ModelSpec) -> "Embedding":
        from transformers import AutoModel, AutoTokenizer

        folder = weights.folder_of(model)
        kwargs = weights.loading(model)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=model.trust_remote_code)
        net = weights.finished(AutoModel.from_pretrained(folder, **kwargs), model)
        positions = getattr(net.config, "max_position_embeddings", None) or 512
        return cls(tokenizer, net, model, folder_settings(folder, model, tokenizer, positions))

    def prepare(self, job: Job) -> None:
        given = job.input["text"]
        texts = [given] if isinstance(given, str) else given
        encoded = self._tokenizer(texts, truncation=True, max_length=self._limit)["input_ids"]
        job.prepared = encoded
        job.length = max(map(len, encoded)) * len(encoded)

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        rows = [ids for job in batch for ids in job.prepared]
        vectors = self._embed(rows)
        at = 0
        for job in batch:
            own = vectors[at : at + len(job.prepared)]
            at += len(own)
            tokens = sum(map(len, job.prepared))
            yield job.id, Finished(own[0] if isinstance(job.input["text"], str) else own, {"input_tokens": tokens})

    def _embed(self, rows: Sequence[list[int]]) -> list[list[float]]:
        """Rows sorted by length, so that short ones are not padded to the longest; answers in the order given."""
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        vectors: list[list[float]] = [[]] * len(rows)
        for start in range(0, len(order), ROWS):
            part = order[start : start + ROWS]
            for n, vector in zip(part, self._forward([rows[n] for n in part]), strict=True):
                vectors[n] = vector
        return vectors

    def _forward(self, rows: Sequence[list[int]]) -> list[list[float]]:
        import torch

        longest = max(map(len, rows))
        ids = torch.tensor([row + [self._pad] * (longest - len(row)) for row in rows], device=self._device)
        lengths = torch.tensor([len(row) for row in rows], device=self._device)
        mask = (torch.arange(longest, device=self._device)[None, :] < lengths[:, None]).long()
        with torch.inference_mode():
            hidden = self._net(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            weight = mask.unsqueeze(-1).float()
            pooled = hidden[:, 0] if self._cls else (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
            if self._normalize:
                pooled = torch.nn.functional.normalize(pooled, dim=1)
            return pooled.tolist()  # type: ignore[no-any-return]

    def probe(self, length: int) -> dict[str, Any] | None:
        return {"text": "word " * max(1, length - 2)}

    def warm_up(self) -> None:
        self._embed([self._tokenizer("warm up")["input_ids"]])

    def bytes(self) -> int:
        return weights.size_of(self._net)


def folder_settings(folder: Path, model: ModelSpec, tokenizer: Any, positions: int) -> dict[str, Any]:
    """Pooling and the length limit: the version's configuration, else sentence-transformers' files, else mean and the
    encoder's positions."""
    pooling_file, limit_file = folder / "1_Pooling" / "config.json", folder / "sentence_bert_config.json"
    pooling = "mean"
    if pooling_file.is_file():
        found = json.loads(pooling_file.read_text())
        pooling = "cls" if found.get("pooling_mode_cls_token") or found.get("pooling_mode") == "cls" else "mean"
    limits = [positions, tokenizer.model_max_length]
    if limit_file.is_file():
        limits.append(json.loads(limit_file.read_text()).get("max_seq_length") or positions)
    return {"pooling": model.config.get("pooling", pooling), "limit": int(min(limits))}
