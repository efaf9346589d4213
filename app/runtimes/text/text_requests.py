"""From a job's input to a `Request`: the prompt through tokenizer and chat template, sampling, grammars, how
the answer is split. Runs beside the batch; knows nothing of it.
"""

import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from app.runtimes.base import Job
from app.runtimes.known_ids import KnownIds
from app.runtimes.text.chat_template import ChatTemplate
from app.runtimes.text.fill_in import text_with_hole
from app.runtimes.text.grammars import KINDS, GrammarCompiler
from app.runtimes.text.message_pieces import PlainPieces, prefix_of, split_pieces
from app.runtimes.text.prompt_pictures import PictureReader, PromptPictures
from app.runtimes.text.response_formats import ResponseFormat, find_format
from app.runtimes.text.sampling import Sampling
from app.runtimes.text.text_runs import Request
from app.runtimes.text_beginnings import beginnings

# New tokens after a prompt, unless a request or a version says. A conversation's answer ends by itself, or
# with the context.
COMPLETION_TOKENS = 128
MARGIN = 64  # tokens that the end of a beginning may have and the whole text not
NO_BOUND = 2**31  # positions of a model that does not say how many it has
SAMPLING = (
    *("temperature", "top_p", "top_k", "repetition_penalty", "min_p"),
    *("presence_penalty", "frequency_penalty"),
)


class RequestMaker:
    """One for each loaded model. `most` bounds an answer's tokens, whatever the context would allow;
    `pictures`: of a model that sees."""

    def __init__(
        self,
        tokenizer: Any,
        net: Any,
        config: Mapping[str, Any],
        positions: int,
        most: int,
        pictures: PictureReader | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._known_ids = KnownIds(tokenizer, net)
        self._positions, self._most = positions, most
        self._pictures = pictures
        self._template = ChatTemplate(tokenizer, config.get("chat_template_kwargs") or {})
        own = getattr(tokenizer, "response_template", None)
        self._format = find_format(self._template.source, own, self._template.has_tools)
        self._ends = end_ids(
            getattr(net.generation_config, "eos_token_id", None),
            net.config.get_text_config(decoder=True).eos_token_id,
            tokenizer.eos_token_id,
        )
        self._specials = special_ids(tokenizer)
        self._vocabulary = int(net.config.get_text_config(decoder=True).vocab_size)
        self._compiler = GrammarCompiler(tokenizer, self._vocabulary, sorted(self._ends))
        self._backend = getattr(tokenizer, "backend_tokenizer", None) or tokenizer
        self._unmarked = unmarked_ids(self._specials, self._format)

    def facts(self) -> dict[str, Any]:
        """What the chat template can say, and how many tokens a prompt and its answer may have."""
        context = {"context_tokens": self._positions} if self._positions < NO_BOUND else {}
        thinking = self._format.thinking is not None
        return {"tools": self._format.has_calls, "thinking": thinking, **context}

    def make(self, job: Job, values: Mapping[str, Any]) -> Request:
        """Raises ValueError with a sentence that names the input."""
        text, ids, pictures = self._prompt(values)
        self._known_ids.check([ids])
        tools = list(values.get("tools") or ())
        is_split = bool(values.get("parse_response")) and bool(values.get("messages"))
        if tools and not self._format.has_calls:
            raise ValueError("tools: how this model writes calls is not known here")
        stops, ends = self._split_stops(values.get("stop") or ())
        return Request(
            ids=ids,
            limit=self._limit(values, len(ids)),
            stops=stops,
            seed=values.get("seed", random.randrange(2**32)),
            sampling=self._sampling(values),
            ends=ends if values.get("ignore_eos") else self._ends | ends,
            decode=self._decode_marked if is_split and self._format.template else self.decode,
            logprobs=values.get("logprobs"),
            echo=text if values.get("echo") else None,
            matcher=self._matcher(values, text, tools),
            split=partial(split_pieces, self._format, text, tools, job.id[-8:]) if is_split else PlainPieces,
            calls_once=values.get("parallel_tool_calls") is False,
            pictures=pictures,
        )

    def sample_with_picture(self) -> tuple[list[int], PromptPictures] | None:
        """A prompt with a picture; None of a model that does not see. Raises ValueError."""
        if self._pictures is None or not self._template.source:
            return None
        content = [{"type": "image"}, {"type": "text", "text": "?"}]
        return self._pictures.read_sample(self._template.render([{"role": "user", "content": content}]))

    def _prompt(self, values: Mapping[str, Any]) -> tuple[str, list[int], PromptPictures | None]:
        prompt, messages = values.get("prompt"), values.get("messages")
        if (prompt is None) == (not messages):
            raise ValueError("give either `prompt` or `messages`")
        if values.get("suffix"):
            return str(prompt), self._ids_with_hole(prompt, values), None
        if messages:
            text = self._template.render(
                messages,
                values.get("tools") or (),
                values.get("chat_template_kwargs"),
                values.get("continue_final_message"),
            )
            return text, *self._ids_and_pictures(text, count_pictures(messages), values)
        if values.get("images"):
            raise ValueError("images: are named by `messages`, not by `prompt`")
        if isinstance(prompt, list):
            return self._text_of(prompt), prompt, None
        ids = self._bounded_ids(str(prompt))
        return str(prompt), ids or [self._tokenizer.bos_token_id or min(self._ends, default=0)], None

    def _ids_with_hole(self, prompt: Any, values: Mapping[str, Any]) -> list[int]:
        if not isinstance(prompt, str) or values.get("echo"):
            raise ValueError("suffix: needs a `prompt` that is a text, and no `echo`")
        vocabulary = self._tokenizer.get_vocab()
        return self._bounded_ids(text_with_hole(prompt, values["suffix"], vocabulary))

    def _ids_and_pictures(
        self, text: str, count: int, values: Mapping[str, Any]
    ) -> tuple[list[int], PromptPictures | None]:
        """Of a conversation that names so many pictures."""
        paths = values.get("images") or []
        if count != len(paths):
            raise ValueError(f"images: are {len(paths)}, and the messages name {count}")
        ids = self._bounded_ids(text, add_special_tokens=False)
        if not paths or self._pictures is None:
            return ids, None
        if values.get("echo") and values.get("logprobs") is not None:
            raise ValueError("logprobs: of a prompt with pictures are not known")
        return self._pictures.read(text, paths)

    def _bounded_ids(self, text: str, **options: Any) -> list[int]:
        """The text's ids. Raises ValueError as soon as a beginning of it has too many: whoever sends a book
        waits no longer, and keeps nobody waiting."""
        ids: list[int] = []
        for beginning in beginnings(text, self._positions):
            ids = list(self._tokenizer(beginning, **options)["input_ids"])
            if len(beginning) < len(text) and len(ids) > self._positions + MARGIN:
                raise ValueError(
                    f"the prompt has more than {self._positions} tokens; the model takes at most"
                    f" {self._positions - 1}"
                )
        return ids

    def _text_of(self, ids: Sequence[int]) -> str:
        if not ids or max(ids) >= max(self._vocabulary, len(self._tokenizer)):
            raise ValueError(f"prompt: the model has {self._vocabulary} ids; {max(ids, default=-1)} is none")
        return self.decode(list(ids))

    def _limit(self, values: Mapping[str, Any], size: int) -> int:
        wish = values.get("max_new_tokens")
        if wish is None:
            wish = self._most if values.get("messages") else COMPLETION_TOKENS
        capacity = self._positions - size
        if capacity < (1 if wish else 0):
            raise ValueError(f"the prompt has {size} tokens; the model takes at most {self._positions - 1}")
        return int(min(wish, capacity))

    def _sampling(self, values: Mapping[str, Any]) -> Sampling:
        bias = {}
        for token, change in (values.get("logit_bias") or {}).items():
            if not str(token).isdecimal() or int(token) >= self._vocabulary:
                raise ValueError(f"logit_bias: {str(token)[:50]!r} is no token id of this model")
            bias[int(token)] = float(change)
        return Sampling(**{name: values[name] for name in SAMPLING}, logit_bias=tuple(sorted(bias.items())))

    def _split_stops(self, stops: Sequence[str]) -> tuple[list[str], frozenset[int]]:
        """Texts to look for, and ids: a special token never appears in the text."""
        ends = frozenset(self._specials[stop] for stop in stops if stop in self._specials)
        return [stop for stop in stops if stop not in self._specials], ends

    def _matcher(self, values: Mapping[str, Any], text: str, tools: list[dict[str, Any]]) -> Any:
        kinds = [kind for kind in KINDS if values.get(kind) is not None]
        choice = values.get("tool_choice") or "auto"
        is_forced = bool(tools) and choice not in ("auto", "none")
        if len(kinds) + is_forced > 1:
            raise ValueError(f"{kinds[0]}: only one of {', '.join(KINDS)} and a forced tool_choice can hold")
        ending = self._format.thinking[1] if self._format.thinking and prefix_of(self._format, text) else ""
        if is_forced:
            callable_ = [tool for tool in tools if choice in ("required", tool["function"]["name"])]
            if not callable_:
                raise ValueError("tool_choice: names a function that is not among `tools`")
            several = choice == "required" and values.get("parallel_tool_calls") is not False
            return self._compiler.compile_calls(self._format, callable_, several=several, thoughts_end=ending)
        return self._compiler.compile(kinds[0], values[kinds[0]], ending) if kinds else None

    def decode(self, ids: list[int]) -> str:
        """Text, without special tokens."""
        return str(self._backend.decode(ids, skip_special_tokens=True))

    def decode_all(self, ids: list[int]) -> str:
        """Text with special tokens."""
        return str(self._backend.decode(ids, skip_special_tokens=False))

    def _decode_marked(self, ids: list[int]) -> str:
        """Text, with the special tokens that mark thoughts and calls."""
        return self.decode_all([id_ for id_ in ids if id_ not in self._unmarked])


def count_pictures(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many parts of messages are pictures."""
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return sum(part.get("type") == "image" for part in parts)


def end_ids(*candidates: Any) -> frozenset[int]:
    """All end-of-text ids: a fine-tune's tokenizer, configuration and generation configuration may each name
    another, and a model may use any."""
    ids: set[int] = set()
    for candidate in candidates:
        ids.update(candidate if isinstance(candidate, list | tuple) else [candidate])
    return frozenset(id_ for id_ in ids if isinstance(id_, int))


def special_ids(tokenizer: Any) -> dict[str, int]:
    """The special tokens by their text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special = {str(token): id_ for id_, token in added.items() if getattr(token, "special", False)}
    named = zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    return {**special, **{str(text): int(id_) for text, id_ in named}}


def unmarked_ids(specials: Mapping[str, int], form: ResponseFormat) -> frozenset[int]:
    """The special tokens that no region of an answer begins or ends with."""
    marks = form.marks
    return frozenset(id_ for text, id_ in specials.items() if text not in marks)
