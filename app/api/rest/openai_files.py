"""Files as OpenAI's clients send and read them, at the same addresses: which of both a request means, and how
it is answered then."""

from typing import Any, Literal

from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from app.domain.files import UploadedFile

PURPOSE = "purpose"  # in what is remembered of a file


class OpenAIFileOut(BaseModel):
    """A file as OpenAI's clients read it."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class OpenAIFilesOut(BaseModel):
    """All of them: OpenAI's clients need no second page."""

    object: Literal["list"] = "list"
    data: list[OpenAIFileOut]
    has_more: Literal[False] = False


class OpenAIDeletedOut(BaseModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def openai_file(file: UploadedFile) -> OpenAIFileOut:
    """What OpenAI's clients know of a file."""
    purpose = file.details.get(PURPOSE)
    return OpenAIFileOut(
        id=file.id,
        bytes=file.size,
        created_at=int(file.created_at.timestamp()),
        expires_at=int(file.expires_at.timestamp()) if file.expires_at else None,
        filename=file.name,
        purpose=purpose if isinstance(purpose, str) else "user_data",
    )


def part_of(form: FormData) -> Any:
    """The file of a form, under either name."""
    content = form.get("content")
    return content if isinstance(content, UploadFile) else form.get("file")


def details_of(form: FormData) -> dict[str, str]:
    """What OpenAI's form says of a file."""
    purpose = form.get(PURPOSE)
    return {PURPOSE: purpose} if isinstance(purpose, str) and purpose else {}
