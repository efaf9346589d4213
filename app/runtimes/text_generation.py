"""Text from causal language models, streamed, with continuous batching: requests join and leave between steps.

The step loop is our own, over transformers' DynamicCache. transformers' ContinuousBatchingManager serves paged attention
on accelerators; it wants its own thread and scheduler, whereas here the engine decides what runs, on a CPU as well.
Models whose cache cannot be cut by rows are run one request at a time by the same loop.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from app.domain.work import Canceled, Chunk, Event, Finished, ModelSpec
from app.runtimes import kv_cache, sampling, schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.sampling import Sampling
from app.runtimes.text_pieces import Detokenizer, StopFilter

SLOTS = 32
MOST_NEW_TOKENS = 32_768

MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": ["system", "user", "assistant"]},
        "content": {"type": "string", "maxLength": 1_000_000},
    },
    "required": ["role", "content"],
}
INPUTS = schema.inputs(
    {
        "prompt": schema.text("Text to continue. Give this or `messages`."),
        "messages": schema.array(MESSAGE, "A conversation, put through the model's chat template.", max_items=1_000),
        "max_new_tokens": schema.integer("At most this many tokens.", minimum=1, maximum=MOST_NEW_TOKENS, default=128),
        "temperature": schema.number(
            "0: always the likeliest token; higher: more surprising.", minimum=0, maximum=5, default=0.7
        ),
        "top_p": schema.number(
            "Choose among the likeliest tokens that make up this probability.", minimum=0, maximum=1, default=0.95
        ),
        "top_k": schema.integer("Choose among this many likeliest tokens; 0: all.", minimum=0, maximum=10_000, default=50),
        "repetition_penalty": schema.number("Above 1: repeat less.", minimum=0.1, maximum=10, default=1.0),
        "stop": schema.array({"type": "string", "maxLength": 1_000}, "End before any of these.", max_items=16),
        "seed": schema.SEED,
    }
)


@dataclass(slots=True)
class _Request:
    """What `prepare` makes of a job."""

    ids: list[int]
    limit: int
    stops: list[str]
    seed: int
    sampling: Sampling


@dataclass(slots=True)
class _Slot:
    """One running request."""

    job: Job
    request: _Request
    tokens: list[int]
    pieces: Detokenizer
    filter: StopFilter
    chunks: list[str] = field(default_factory=list)
    made: int = 0
    reason: str = ""


class TextGeneration(Runtime):
    """Length is the prompt's tokens. Metrics: prompt_tokens, output_tokens, finish_reason (stop, length)."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="text-generation",
        description="Continues text or a conversation (causal language models).",
        inputs={"": INPUTS},
        outputs={"": schema.chunks_of_text()},
        streams=True,
        config=weights.CONFIG,
    )
    joins: ClassVar[bool] = True

    def __init__(self, tokenizer: Any, net: Any, model: ModelSpec) -> None:
        self._tokenizer, self._net, self._device = tokenizer, net, model.device
        config = net.generation_config
        ends = config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [] if ends is None else [ends])
        self._positions = getattr(net.config, "max_position_embeddings", None) or 2**31
        self._pad = tokenizer.pad_token_id or 0
        self._slots = int(model.config.get("max_batch_size", SLOTS))
        self._plain = True

    @classmethod
    def load(cls, model: ModelSpec) -> "TextGeneration":
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = weights.folder_of(model)
        kwargs = weights.loading(model)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=model.trust_remote_code)
        return cls(tokenizer, weights.finished(AutoModelForCausalLM.from_pretrained(folder, **kwargs), model), model)

    def prepare(self, job: Job) -> None:
        given = job.input
        ids = self._ids(given)
        room = self._positions - len(ids)
        if room <= 0:
            raise ValueError(f"the prompt has {len(ids)} tokens; the model takes at most {self._positions - 1}")
        seed = given.get("seed")
        job.prepared = _Request(
            ids,
            min(given.get("max_new_tokens", 128), room),
            list(given.get("stop") or ()),
            random.randrange(2**32) if seed is None else seed,
            Sampling(
                given.get("temperature", 0.7), given.get("top_p", 0.95), given.get("top_k", 50),
                given.get("repetition_penalty", 1.0),
            ),
        )  # fmt: skip
        job.length = len(ids)

    def _ids(self, given: dict[str, Any]) -> list[int]:
        prompt, messages = given.get("prompt"), given.get("messages")
        if (prompt is None) == (not messages):
            raise ValueError("give either `prompt` or `messages`")
        if messages:
            if not self._tokenizer.chat_template:
                raise ValueError("this model has no chat template: give `prompt` instead of `messages`")
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        ids = list(self._tokenizer(prompt)["input_ids"])
        return ids or [self._tokenizer.bos_token_id or next(iter(self._ends), 0)]

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        """Steps until every slot is empty. New requests are read in one forward pass of their own and then merged in."""
        waiting = list(batch)
        slots: list[_Slot] = []
        cache: Any = None
        mask: Any = None
        while waiting or slots:
            room = self._room(slots, cache)
            if len(waiting) < room:
                waiting += feed.join(room - len(waiting))
            coming, waiting = waiting[:room], waiting[room:]
            if coming:
                fresh = [self._slot(job) for job in coming]
                new = self._prefill(fresh)
                yield from self._advance(fresh, new[2])
                slots, (cache, mask) = slots + fresh, (kv_cache.merge((cache, mask), new[:2]) if slots else new[:2])
            elif slots:
                logits, cache, mask = self._step(slots, cache, mask)
                yield from self._advance(slots, logits)
            yield from self._stop_canceled(slots, feed)
            slots, cache, mask = self._leave(slots, cache, mask)

    def _room(self, slots: list[_Slot], cache: Any) -> int:
        """Free slots. A cache that cannot be cut by rows takes one request at a time."""
        if not self._plain:
            return 0 if slots else 1
        return self._slots - len(slots)

    def _slot(self, job: Job) -> _Slot:
        import torch

        request: _Request = job.prepared
        request.sampling.generator = torch.Generator(self._device).manual_seed(request.seed)
        detokenizer = Detokenizer(lambda ids: self._tokenizer.decode(ids, skip_special_tokens=True), request.ids)
        return _Slot(job, request, list(request.ids), detokenizer, StopFilter(request.stops))

    def _prefill(self, slots: list[_Slot]) -> tuple[Any, Any, Any]:
        """(cache, mask, logits of the last position) of the prompts, padded on the left."""
        import torch
        from transformers import DynamicCache

        longest = max(len(slot.tokens) for slot in slots)
        pads = [longest - len(slot.tokens) for slot in slots]
        ids = torch.tensor([[self._pad] * n + slot.tokens for n, slot in zip(pads, slots, strict=True)], device=self._device)
        mask = torch.tensor([[0] * n + [1] * (longest - n) for n in pads], device=self._device)
        logits, cache = self._forward(ids, mask, DynamicCache(config=self._net.config))
        self._plain = kv_cache.plain(cache)
        return cache, mask, logits

    def _step(self, slots: list[_Slot], cache: Any, mask: Any) -> tuple[Any, Any, Any]:
        import torch

        ids = torch.tensor([[slot.tokens[-1]] for slot in slots], device=self._device)
        mask = torch.cat([mask, mask.new_ones((len(slots), 1))], dim=1)
        logits, cache = self._forward(ids, mask, cache)
        return logits, cache, mask

    def _forward(self, ids: Any, mask: Any, cache: Any) -> tuple[Any, Any]:
        import torch

        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        with torch.inference_mode():
            out = self._net(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        return out.logits[:, -1], out.past_key_values

    def _advance(self, slots: list[_Slot], logits: Any) -> Iterator[tuple[str, Event]]:
        """One more token for every slot."""
        chosen = sampling.choose(logits, [slot.request.sampling for slot in slots], [slot.tokens for slot in slots])
        for slot, token in zip(slots, chosen, strict=True):
            text = self._take(slot, token)
            if text:
                slot.chunks.append(text)
                yield slot.job.id, Chunk(text)
            if slot.reason:
                yield slot.job.id, Finished(slot.chunks, self._metrics(slot))

    def _take(self, slot: _Slot, token: int) -> str:
        slot.made += 1
        slot.tokens.append(token)
        if token in self._ends:
            slot.reason = "stop"
            return slot.filter.add(slot.pieces.rest()) + slot.filter.rest()
        text = slot.filter.add(slot.pieces.add(token))
        if slot.filter.stopped:
            slot.reason = "stop"
        elif slot.made >= slot.request.limit:
            slot.reason = "length"
            text += slot.filter.add(slot.pieces.rest())
            text += "" if slot.filter.stopped else slot.filter.rest()
        return text

    @staticmethod
    def _metrics(slot: _Slot) -> dict[str, Any]:
        return {"prompt_tokens": len(slot.request.ids), "output_tokens": slot.made, "finish_reason": slot.reason}

    def _stop_canceled(self, slots: list[_Slot], feed: Feed) -> Iterator[tuple[str, Event]]:
        for slot in slots:
            if not slot.reason and feed.canceled(slot.job.id):
                slot.reason = "canceled"
                yield slot.job.id, Canceled(self._metrics(slot))

    def _leave(self, slots: list[_Slot], cache: Any, mask: Any) -> tuple[list[_Slot], Any, Any]:
        """Drops the rows of requests that have ended."""
        staying = [n for n, slot in enumerate(slots) if not slot.reason]
        if len(staying) == len(slots):
            return slots, cache, mask
        if not staying:
            return [], None, None
        cache, mask = kv_cache.keep(cache, mask, staying)
        return [slots[n] for n in staying], cache, mask

    def bytes(self) -> int:
        return weights.size_of(self._net)
