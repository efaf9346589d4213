"""Log probabilities: of tokens that were chosen, and of a prompt's, with the likeliest others in their stead.

They are the model's own, before temperature, penalties and grammars.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch

Score = dict[str, Any]  # {token, logprob, bytes, top: [{token, logprob, bytes}]}
# Positions of a prompt that are scored in one forward pass: with 150,000 ids in the vocabulary their logits
# are 150 MB.
POSITIONS_AT_ONCE = 256
KEPT_TEXTS = 10_000


class TokenScorer:
    """One for each loaded model. `decode` makes text of ids, special tokens included."""

    def __init__(self, net: Any, device: str, decode: Callable[[list[int]], str]) -> None:
        self._net, self._device = net, device
        self._decode = decode
        self._text = lru_cache(KEPT_TEXTS)(self._text_of)

    def score(self, logits: Any, tokens: Sequence[int], top: Sequence[int]) -> list[Score]:
        """Of each row's token; `top`: with so many others, row by row."""
        chances = logits.float().log_softmax(-1)
        chosen = chances.gather(1, torch.tensor(tokens, device=chances.device)[:, None])[:, 0].tolist()
        best = chances.topk(max(top))
        rows = zip(tokens, chosen, best.values.tolist(), best.indices.tolist(), top, strict=True)
        return [
            self._as_json(token, chance, (values[:count], ids[:count]))
            for token, chance, values, ids, count in rows
        ]

    def score_prompt(self, ids: Sequence[int], top: int) -> list[Score]:
        """Of each token of a prompt, given those before it; nothing is before the first."""
        scores = [self._as_json(ids[0], None, ((), ()))]
        for start, logits in self._prompt_logits(ids[:-1]):
            scores += self.score(logits, ids[start + 1 : start + 1 + len(logits)], [top] * len(logits))
        return scores

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _prompt_logits(self, ids: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Logits (positions, vocabulary) that follow each id, with the first one's position."""
        cache = None
        for start in range(0, len(ids), POSITIONS_AT_ONCE):
            part = torch.tensor([ids[start : start + POSITIONS_AT_ONCE]], device=self._device)
            more: dict[str, Any] = {"past_key_values": cache} if cache is not None else {}
            out = self._net(input_ids=part, use_cache=len(ids) > POSITIONS_AT_ONCE, **more)
            cache = getattr(out, "past_key_values", None)
            yield start, out.logits[0]

    def _as_json(self, token: int, chance: float | None, others: tuple[Any, Any]) -> Score:
        top = [{**self._text(id_), "logprob": value} for value, id_ in zip(*others, strict=True)]
        return {**self._text(token), "logprob": chance, "top": top}

    def _text_of(self, token: int) -> dict[str, Any]:
        """Its text behind another token, because many tokenizers write it differently at a start. A part of
        a character has no bytes that are known here."""
        before = self._decode([token])
        text = self._decode([token, token])[len(before) :] or before
        return {"token": text, "bytes": None if "\ufffd" in text else list(text.encode())}
