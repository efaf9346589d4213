"""What these routes' requests have in common: the model's own inputs beside OpenAI's fields, and fields of
several forms."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field

from app.api.openai.calls import Call
from app.api.openai.errors import refused

Model = Annotated[str, Field(max_length=300, description="`owner/name`, or `owner/name:version`.")]
TAKEN = {"prompt", "messages", "text"}  # inputs that these routes fill


class CallIn(BaseModel):
    """OpenAI's fields; what is none of them must be an input of the model (`extra_body` of the Python
    client)."""

    model_config = ConfigDict(extra="allow")

    model: Model
    user: str | None = Field(None, description="Taken and not used.")

    def own_inputs(self, call: Call) -> dict[str, Any]:
        """The fields that are not OpenAI's. Raises InvalidRequest for one that is no input of the model
        either."""
        extra = self.model_extra or {}
        if unknown := next((name for name in extra if name in TAKEN or name not in call.inputs()), None):
            raise refused(
                unknown[:200], f"is neither a field of this call nor an input of {call.version.model}"
            )
        return dict(extra)


def by_form(pick: Callable[[Any], str | None], must: str) -> Discriminator:
    """Chooses among a union's forms, so that an error is about one of them. `pick` returns a Tag such as
    "<text>", which is left out of the field's name, or None: then the error says what the field `must` be."""
    return Discriminator(pick, custom_error_type="form", custom_error_message=must)


def text_or_list(value: Any) -> str | None:
    """`pick` for a text or a list of something."""
    return "<text>" if isinstance(value, str) else "<list>" if isinstance(value, list) else None
