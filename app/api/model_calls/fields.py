"""What requests of other platforms' clients have in common: the model's own inputs beside their fields, and
fields of several forms."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field

from app.api.model_calls.calls import Call
from app.api.model_calls.failures import refused

Model = Annotated[
    str, Field(max_length=300, description="`owner/name`, `owner/name:version`, an alias, or a bare name.")
]
TAKEN = {
    "prompt",
    "messages",
    "text",
    "query",
    "texts",
    "pairs",
    "audio",
    "image",
    "images",
    "mask",
}  # inputs that these routes fill
# Fields that clients send by themselves or for a service's bookkeeping. None of them changes an answer here,
# so they are ignored, and the answer's header `Ignored-Fields` names them.
IGNORED = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "style",
        "user",
    }
)


class CallIn(BaseModel):
    """An API's own fields; what is none of them must be an input of the model (`extra_body` of OpenAI's
    client). A null, whatever the field, means that it is not sent."""

    model_config = ConfigDict(extra="allow")

    model: Model

    def own_inputs(self, call: Call) -> dict[str, Any]:
        """The fields that are not the API's. Raises InvalidRequest for one that would change the answer and
        is no input of the model either."""
        sent = {name: value for name, value in (self.model_extra or {}).items() if value is not None}
        own = {name: value for name, value in sent.items() if call.takes(name) and name not in TAKEN}
        call.ignored.extend(name for name in sent if name in IGNORED and name not in own)
        if unknown := next((name for name in sent if name not in own and name not in IGNORED), None):
            raise refused(
                unknown[:200], f"is neither a field of this call nor an input of {call.version.model}"
            )
        return own


def by_form(pick: Callable[[Any], str | None], must: str) -> Discriminator:
    """Chooses among a union's forms, so that an error is about one of them. `pick` returns a Tag such as
    "<text>", which is left out of the field's name, or None: then the error says what the field `must` be."""
    return Discriminator(pick, custom_error_type="form", custom_error_message=must)


def text_or_list(value: Any) -> str | None:
    """`pick` for a text or a list of something."""
    return "<text>" if isinstance(value, str) else "<list>" if isinstance(value, list) else None
