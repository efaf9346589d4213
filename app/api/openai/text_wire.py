"""The bodies of completions, and what they have in common with chat completions, with OpenAI's fields. Knows
no model."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

from app.api.model_calls.failures import refused
from app.api.model_calls.fields import CallIn, Model, by_form, text_or_list

MOST_CHOICES = 128  # predictions of one request
MOST_LOGPROBS = 20
Count = Annotated[int | None, Field(ge=1, le=2**53)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: bool | None = False
    include_obfuscation: bool | None = False
    continuous_usage_stats: bool | None = Field(None, description="Only false.")


Stop = Annotated[
    Annotated[str, Field(max_length=1_000), Tag("<text>")]
    | Annotated[list[str], Field(max_length=16), Tag("<list>")],
    by_form(text_or_list, "must be a text or a list of texts"),
]


class TextIn(CallIn):
    """What both have in common. What is left out is as the model's version says."""

    model: Model = Field(examples=["demo/words"])
    n: int | None = Field(1, ge=1, le=MOST_CHOICES, description="How many answers.")
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    stop: Stop | None = None
    seed: int | None = Field(None, description="The same seed and input give the same text.")
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    max_tokens: Count = Field(None, description="At most this many tokens; the context ends it, too.")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, float] | None = Field(None, max_length=1_024, description="By token id.")

    def settings(self) -> dict[str, Any]:
        """The sampling parameters by our names; what is neutral is left out, so that models without it are
        served, too."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        seed = None if self.seed is None else self.seed % 2**32
        values = {
            "max_new_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "stop": stop,
            "seed": seed,
            "presence_penalty": self.presence_penalty or None,
            "frequency_penalty": self.frequency_penalty or None,
            "logit_bias": self.logit_bias or None,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def wants_logprobs(self) -> bool:
        """Whether the answer shows the tokens' log probabilities."""
        return False

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return self.n or 1


Token = Annotated[int, Field(ge=0, le=10_000_000)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=100_000)]


def prompt_form(value: Any) -> str | None:
    """Which of the four forms of a prompt this is, as a tag."""
    if isinstance(value, str):
        return "<text>"
    if not isinstance(value, list):
        return None
    kinds = {type(item) for item in value}
    if len(kinds) != 1:
        return "<texts>"
    return {int: "<tokens>", list: "<token lists>"}.get(kinds.pop(), "<texts>")


Prompt = Annotated[
    Annotated[str, Field(max_length=1_000_000), Tag("<text>")]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[list[str], Field(min_length=1, max_length=MOST_CHOICES), Tag("<texts>")]
    | Annotated[list[Tokens], Field(min_length=1, max_length=MOST_CHOICES), Tag("<token lists>")],
    by_form(prompt_form, "must be a text, a list of texts, a list of token ids, or a list of such lists"),
]


class CompletionIn(TextIn):
    """A text to continue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "demo/words", "prompt": "The ship", "max_tokens": 20, "stream": False}]
        }
    )

    prompt: Prompt = Field(description="Texts, or ids of the model's own tokenizer.")
    max_tokens: int | None = Field(
        None, ge=0, le=2**53, description="At most this many tokens. 0: only the prompt, with `echo`."
    )
    best_of: int | None = Field(
        None, ge=1, le=20, description="Make so many, answer the `n` with the likeliest tokens."
    )
    echo: bool | None = Field(False, description="Put the prompt before the answer.")
    logprobs: int | None = Field(
        None, ge=0, le=MOST_LOGPROBS, description="Log probabilities of the tokens and of so many others."
    )
    suffix: str | None = Field(
        None, max_length=1_000_000, description="What follows the answer, for models that can fill in a text."
    )

    def prompts(self) -> list[str | list[int]]:
        """One or several, each a text or token ids. Raises InvalidRequest."""
        if self.best_of is not None and self.best_of < self.choices:
            raise refused("best_of", "must be at least `n`")
        if self.stream and self.tries > self.choices:
            raise refused("best_of", "cannot be streamed when it is larger than `n`")
        prompts = self.prompt
        is_several = isinstance(prompts, list) and not isinstance(prompts[0], int)
        return list(prompts) if is_several else [prompts]  # type: ignore[arg-type, list-item]

    @property
    def wants_logprobs(self) -> bool:
        return self.logprobs is not None

    @property
    def tries(self) -> int:
        """How many answers are made for each prompt."""
        return self.best_of or self.choices

    def settings(self) -> dict[str, Any]:
        filled = {"suffix": self.suffix} if self.suffix else {}
        return super().settings() | filled | self._scores()

    def _scores(self) -> dict[str, Any]:
        """What is asked of the tokens' probabilities. The runtime echoes a prompt itself where its
        tokens are to be scored, or are all that there is of it."""
        is_ids = any(not isinstance(prompt, str) for prompt in self.prompts())
        scores: dict[str, Any] = {}
        if self.logprobs is not None:
            scores["logprobs"] = self.logprobs
        elif self.tries > self.choices:
            scores["logprobs"] = 0
        if self.runtime_echoes(is_ids):
            scores["echo"] = True
        return scores

    def runtime_echoes(self, is_ids: bool) -> bool:
        """Whether the prompt's text comes with the answer's pieces."""
        return bool(self.echo) and (self.logprobs is not None or is_ids)


class UsageOut(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionLogprobsOut(BaseModel):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoiceOut(BaseModel):
    index: int
    text: str
    finish_reason: str | None
    logprobs: CompletionLogprobsOut | None = None


class CompletionOut(BaseModel):
    """OpenAI's text completion."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoiceOut]
    usage: UsageOut
