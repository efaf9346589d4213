"""Text from causal language models, streamed; requests join and leave the running batch between steps.

`continuous_batching` is the loop; `static_batching` the fallback for models whose cache it cannot handle,
decided by trying at load.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from app.domain.version_settings import number_of
from app.domain.work import Delivered, Event, ModelSpec
from app.runtimes import schema, weights
from app.runtimes.base import Feed, Job, Runtime, RuntimeSpec
from app.runtimes.text.prompt_pictures import TASK as SEES
from app.runtimes.text.prompt_pictures import PictureReader, load_processor

if TYPE_CHECKING:  # they import torch
    from app.runtimes.text.text_runs import TextRun

SLOTS = 32
# `dtype: auto` takes half precision when the likeliest token after each of these stays the same.
PROBE = (
    "Once upon a time there was a miller who had three sons, a mill, an ass and a cat; the sons had to grind."
)
MOST_NEW_TOKENS = 32_768

TEXT = {"type": "string", "maxLength": 1_000_000}
MESSAGE: schema.Schema = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": ["system", "user", "assistant", "tool"]},
        "content": {**TEXT, "nullable": True},
        "reasoning_content": {**TEXT, "nullable": True},
        "tool_calls": {"type": "array", "items": {"type": "object"}, "maxItems": 128, "nullable": True},
        "tool_call_id": {"type": "string", "maxLength": 200, "nullable": True},
        "name": {"type": "string", "maxLength": 200, "nullable": True},
    },
    "required": ["role"],
}
TOKENS = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 10_000_000},
    "minItems": 1,
    "maxItems": 1_000_000,
}
TOOL = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["function"]},
        "function": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 200}, "parameters": {"type": "object"}},
            "required": ["name"],
        },
    },
    "required": ["function"],
}
PENALTY = {"minimum": -2, "maximum": 2, "default": 0}
PROMPT = {
    "prompt": {
        "description": "Text to continue, or ids of the model's tokenizer. Give this or `messages`.",
        "anyOf": [TEXT, TOKENS],
    },
    "suffix": schema.text(
        "What follows the answer, for models that can fill in a text.", max_length=1_000_000, nullable=True
    ),
    "messages": schema.array(
        MESSAGE, "A conversation, put through the model's chat template.", max_items=1_000
    ),
}
SAMPLING = {
    "max_new_tokens": schema.integer(
        "At most this many tokens. Empty: 128 after a prompt; in a conversation, what the context has left.",
        minimum=0,
        maximum=MOST_NEW_TOKENS,
        nullable=True,
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
    "stop": schema.array({"type": "string", "maxLength": 1_000}, "End before any of these.", max_items=16),
    "ignore_eos": schema.boolean(
        "Go on behind the model's end tokens, up to `max_new_tokens`.", default=False
    ),
    "seed": schema.SEED,
    "min_p": schema.number(
        "Leave out tokens less likely than this times the likeliest.", minimum=0, maximum=1, default=0
    ),
    "presence_penalty": schema.number("Above 0: fewer tokens that are in the answer already.", **PENALTY),
    "frequency_penalty": schema.number("The same, times how often each is there.", **PENALTY),
    "logit_bias": {
        "type": "object",
        "description": "Added to the logits of tokens, by their ids.",
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    },
}
ANSWER = {
    "logprobs": schema.integer(
        "With the log probability of each token, and of so many others.", minimum=0, maximum=20, nullable=True
    ),
    "echo": schema.boolean("Begin with the prompt.", default=False),
    "json_schema": {
        "description": "The answer is JSON that fits this schema.",
        "anyOf": [{"type": "object"}, {"type": "boolean"}],
    },
    "regex": schema.text("The answer matches this regular expression.", max_length=10_000),
    "grammar": schema.text("The answer is derived by this Lark grammar.", max_length=100_000),
    "tools": schema.array(
        TOOL, "Functions that the model may call, as its chat template takes them.", max_items=128
    ),
    "tool_choice": schema.text(
        "auto, none, required, or the name of the function to call.", max_length=200, default="auto"
    ),
    "parallel_tool_calls": schema.boolean("Several calls in one answer.", default=True),
    "parse_response": schema.boolean(
        "Give thoughts and tool calls as objects, apart from the text.", default=False
    ),
    "chat_template_kwargs": {
        "type": "object",
        "description": "Variables of the chat template, e.g. enable_thinking.",
    },
    "continue_final_message": schema.boolean(
        "Continue the last message. Empty: if it is the assistant's.", nullable=True
    ),
}
ONE_OF = (("prompt",), ("messages",))
INPUTS = schema.inputs({**PROMPT, **SAMPLING, **ANSWER}, one_of=ONE_OF)
PART = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": ["text", "image"]}, "text": TEXT},
    "required": ["type"],
    "additionalProperties": False,
}
PARTS = {"type": "array", "items": PART, "maxItems": 1_000}
SEEN_MESSAGE = {
    **MESSAGE,
    "properties": {**MESSAGE["properties"], "content": {"anyOf": [TEXT, PARTS], "nullable": True}},
}
PICTURES = {
    "messages": schema.array(
        SEEN_MESSAGE,
        "A conversation; a content may be a list of parts, of which `image` is the next of `images`.",
        max_items=1_000,
    ),
    "images": schema.array(
        schema.file("A picture: a URL or a data URI.", contentMediaType="image/*"),
        "The pictures that the messages name, in their sequence.",
        max_items=64,
    ),
}
SEEING_INPUTS = schema.inputs({**PROMPT, **PICTURES, **SAMPLING, **ANSWER}, one_of=ONE_OF)


class TextGeneration(Runtime):
    """Length is the prompt's tokens, and those of an earlier run that this one goes on from. Metrics:
    prompt_tokens, output_tokens, finish_reason (stop, length, tool_calls), and the seed when there is chance
    in it."""

    spec: ClassVar[RuntimeSpec] = RuntimeSpec(
        name="text-generation",
        description="Continues text or a conversation (causal language models, and those that see pictures).",
        inputs={"": INPUTS, SEES: SEEING_INPUTS},
        outputs={"": schema.chunks_of_text()},
        streams=True,
        reads=(*weights.PRECISION, *weights.ACCELERATION, *weights.ADAPTERS),
        config={
            "chat_template_kwargs": {
                "type": "object",
                "description": "Variables of the chat template; a request's own come after.",
            },
            "prefix_cache_bytes": schema.integer(
                "Memory for what was read of prompts, for those that begin alike; 0: nothing is kept."
                " Default: 128 MiB on a processor, 1 GiB elsewhere.",
                minimum=0,
                maximum=2**40,
            ),
        },
    )
    joins: ClassVar[bool] = True

    def __init__(self, tokenizer: Any, net: Any, model: ModelSpec, processor: Any = None) -> None:
        from app.runtimes.text.kv_cache import CachedModel
        from app.runtimes.text.text_requests import RequestMaker
        from app.runtimes.text.token_scores import TokenScorer

        self._net = net
        self._device, self._threads = model.device, model.threads
        pictures = PictureReader(processor) if processor is not None else None
        self._inputs = self.spec.input_schema(model.task)
        self._requests = RequestMaker(
            tokenizer, net, model.config, positions_of(net.config), MOST_NEW_TOKENS, pictures
        )
        self._scorer = TokenScorer(net, model.device, self._requests.decode_all)
        self._slots = slot_count(model.config)
        self._facts: dict[str, Any] = {}
        self._model = CachedModel(net, model.device, prefix_bytes(model))
        self._is_continuous = self._model.supports_slots(self._requests.sample_with_picture())

    @classmethod
    def load(cls, model: ModelSpec) -> "TextGeneration":
        from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

        from app.runtimes.dtype_choice import Comparison

        sees = model.task == SEES
        processor = load_processor(model) if sees else None
        tokenizer = weights.load_tokenizer(weights.model_folder(model), model)
        ids = tokenizer(PROBE)["input_ids"][:64]
        comparison = Comparison(
            lambda net: likely(net, ids, model.device), share_of_equal, 1.0, on_processors=False
        )
        kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        net, facts = weights.load_network(kind, model, comparison)
        runtime = cls(tokenizer, net, model, processor)
        runtime._facts = {
            **facts,
            "continuous_batching": runtime._is_continuous,
            **runtime._requests.facts(),
        }
        return runtime

    def prepare(self, job: Job) -> None:
        job.prepared = self._requests.make(job, schema.with_defaults(self._inputs, job.input))
        job.length = len(job.prepared.ids)
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

    def run(self, batch: Sequence[Job], feed: Feed) -> Iterator[tuple[str, Event]]:
        from app.runtimes.text.continuous_batching import ContinuousBatch
        from app.runtimes.text.static_batching import StaticBatch

        if self._is_continuous:
            continuous = ContinuousBatch(self._model, self._start, self._slots, self._device)
            return continuous.generate(batch, feed)
        return StaticBatch(self._net, self._start, self._device, self._threads).generate(batch, feed)

    def _start(self, job: Job) -> "TextRun":
        from app.runtimes.text.text_runs import TextRun

        return TextRun(job, self._scorer)

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


def positions_of(config: Any) -> int:
    """How many tokens the model can look at, prompt and answer together; very many when it does not say."""
    from app.runtimes.text.text_requests import NO_BOUND

    text = config.get_text_config(decoder=True)
    return int(getattr(text, "max_position_embeddings", None) or NO_BOUND)


def prefix_bytes(model: ModelSpec) -> int:
    """What is kept of prompts at most."""
    from app.runtimes.text.prefix_cache import BYTES_ELSEWHERE, BYTES_ON_CPU

    usual = BYTES_ON_CPU if model.device == "cpu" else BYTES_ELSEWHERE
    return int(model.config.get("prefix_cache_bytes", usual))


def slot_count(config: dict[str, Any]) -> int:
    """Requests in one running batch: `max_batch_size`, unless it is auto."""
    return int(number_of(config, "max_batch_size") or SLOTS)
