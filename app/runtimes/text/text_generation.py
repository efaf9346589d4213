"""Text from causal language models, streamed; requests join and leave the running batch between steps.

`continuous_batching` is the loop; `static_batching` the fallback for models whose cache it cannot handle,
decided by trying at load.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from app.domain.version_settings import number_of
from app.domain.work import Delivered, Event, ModelSpec
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.known_ids import KnownIds

if TYPE_CHECKING:  # they import torch
    from app.runtimes.text.text_runs import TextRun

SLOTS = 32
# `dtype: auto` takes half precision when the likeliest token after each of these stays the same.
PROBE = (
    "Once upon a time there was a miller who had three sons, a mill, an ass and a cat; the sons had to grind."
)
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
        "messages": schema.array(
            MESSAGE, "A conversation, put through the model's chat template.", max_items=1_000
        ),
        "max_new_tokens": schema.integer(
            "At most this many tokens.", minimum=1, maximum=MOST_NEW_TOKENS, default=128
        ),
        "temperature": schema.number(
            "0: always the likeliest token; higher: more surprising.", minimum=0, maximum=5, default=0.7
        ),
        "top_p": schema.number(
            "Choose among the likeliest tokens that make up this probability.",
            minimum=0,
            maximum=1,
            default=0.95,
        ),
        "top_k": schema.integer(
            "Choose among this many likeliest tokens; 0: all.", minimum=0, maximum=10_000, default=50
        ),
        "repetition_penalty": schema.number("Above 1: repeat less.", minimum=0.1, maximum=10, default=1.0),
        "stop": schema.array(
            {"type": "string", "maxLength": 1_000}, "End before any of these.", max_items=16
        ),
        "seed": schema.SEED,
    },
    one_of=(("prompt",), ("messages",)),
)


class TextGeneration(Runtime):
    """Length is the prompt's tokens, and those of an earlier run that this one goes on from. Metrics:
    prompt_tokens, output_tokens, finish_reason (stop, length), and the seed when there is chance in it."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="text-generation",
        description="Continues text or a conversation (causal language models).",
        inputs={"": INPUTS},
        outputs={"": schema.chunks_of_text()},
        streams=True,
        reads=(*weights.PRECISION, *weights.ACCELERATION),
    )
    joins: ClassVar[bool] = True

    def __init__(self, tokenizer: Any, net: Any, model: ModelSpec) -> None:
        from app.runtimes.text.kv_cache import CachedModel

        self._tokenizer, self._net = tokenizer, net
        self._device, self._threads = model.device, model.threads
        self._ends = end_ids(net.generation_config.eos_token_id, tokenizer.eos_token_id)
        self._positions = positions_of(net.config)
        self._known_ids = KnownIds(tokenizer, net)
        self._slots = slot_count(model.config)
        self._facts: dict[str, Any] = {}
        self._model = CachedModel(net, model.device)
        self._is_continuous = self._model.supports_slots()
        backend = getattr(tokenizer, "backend_tokenizer", None) or tokenizer  # a tenth of the wrapper's time
        self._decode = lambda ids: backend.decode(ids, skip_special_tokens=True)

    @classmethod
    def load(cls, model: ModelSpec) -> "TextGeneration":
        from transformers import AutoModelForCausalLM

        from app.runtimes.dtype_choice import Comparison

        tokenizer = weights.load_tokenizer(weights.model_folder(model), model)
        ids = tokenizer(PROBE)["input_ids"][:64]
        comparison = Comparison(lambda net: likely(net, ids, model.device), share_of_equal, 1.0)
        net, facts = weights.load_network(AutoModelForCausalLM, model, comparison)
        runtime = cls(tokenizer, net, model)
        runtime._facts = {**facts, "continuous_batching": runtime._is_continuous}
        return runtime

    def prepare(self, job: Job) -> None:
        from app.runtimes.text.sampling import Sampling
        from app.runtimes.text.text_runs import Request

        values = schema.with_defaults(INPUTS, job.input)
        ids = self._prompt_ids(values)
        self._known_ids.check([ids])
        capacity = self._positions - len(ids)
        if capacity <= 0:
            raise ValueError(
                f"the prompt has {len(ids)} tokens; the model takes at most {self._positions - 1}"
            )
        job.length = len(ids)
        job.prepared = Request(
            ids=ids,
            limit=min(values["max_new_tokens"], capacity),
            stops=list(values.get("stop", ())),
            seed=values.get("seed", random.randrange(2**32)),
            sampling=Sampling(
                temperature=values["temperature"],
                top_p=values["top_p"],
                top_k=values["top_k"],
                repetition_penalty=values["repetition_penalty"],
            ),
        )
        if job.delivered:
            self._continue(job, job.delivered)

    def _continue(self, job: Job, delivered: Delivered) -> None:
        """Goes on behind the tokens of an earlier run, when they make the very text that was delivered; or
        behind all but the last chunk, when that is the end."""
        anew = job.prepared
        for count in range(len(delivered), max(0, len(delivered) - 2), -1):
            job.prepared = replace(anew, tokens=[id_ for ids in delivered.states[:count] for id_ in ids])
            if self._start(job).follows(delivered.chunks[:count]):
                job.continued = count
                job.length += len(job.prepared.tokens)
                return
        job.prepared = anew

    def _prompt_ids(self, values: dict[str, Any]) -> list[int]:
        prompt, messages = values.get("prompt"), values.get("messages")
        if (prompt is None) == (not messages):
            raise ValueError("give either `prompt` or `messages`")
        if messages:
            if not self._tokenizer.chat_template:
                raise ValueError("this model has no chat template: give `prompt` instead of `messages`")
            return list(self._tokenizer(self._conversation(messages), add_special_tokens=False)["input_ids"])
        ids = list(self._tokenizer(prompt)["input_ids"])
        return ids or [self._tokenizer.bos_token_id or min(self._ends, default=0)]

    def _conversation(self, messages: list[dict[str, Any]]) -> str:
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # noqa: BLE001 - a template refuses by errors of jinja's own
            raise ValueError(f"the model's chat template refuses these messages: {error}") from None
        return str(text)

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        from app.runtimes.text.continuous_batching import ContinuousBatch
        from app.runtimes.text.static_batching import StaticBatch

        if self._is_continuous:
            continuous = ContinuousBatch(self._model, self._start, self._slots, self._device)
            return continuous.generate(batch, feed)
        return StaticBatch(self._net, self._start, self._device, self._threads).generate(batch, feed)

    def _start(self, job: Job) -> "TextRun":
        from app.runtimes.text.text_runs import TextRun

        return TextRun(job, self._decode, self._ends)

    def facts(self) -> dict[str, Any]:
        return self._facts

    def bytes(self) -> int:
        return weights.count_bytes(self._net)


def likely(net: Any, ids: list[int], device: str) -> Any:
    """The likeliest next token after each of these, (tokens,)."""
    import torch

    return net(input_ids=torch.tensor([ids], device=device)).logits[0].argmax(-1)


def share_of_equal(ours: Any, theirs: Any) -> float:
    """The share of equal numbers."""
    return float((ours == theirs).float().mean())


def end_ids(*candidates: Any) -> frozenset[int]:
    """The end-of-text ids: the first candidate (an id, several or None) that is not None."""
    ids: Any = next((each for each in candidates if each is not None), [])
    return frozenset(ids if isinstance(ids, list | tuple) else [ids])


def positions_of(config: Any) -> int:
    """How many tokens the model can look at, prompt and answer together; very many when it does not say."""
    text = config.get_text_config(decoder=True)
    return int(getattr(text, "max_position_embeddings", None) or 2**31)


def slot_count(config: dict[str, Any]) -> int:
    """Requests in one running batch: `max_batch_size`, unless it is auto."""
    return int(number_of(config, "max_batch_size") or SLOTS)
