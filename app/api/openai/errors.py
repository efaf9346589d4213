"""OpenAI's error shape on OpenAI's routes, from the same errors as everywhere else."""

from typing import Any

from pydantic import BaseModel

from app.api.error_shapes import openai_shape
from app.api.model_calls.edge_route import edge_route


class ErrorBody(BaseModel):
    """OpenAI's error."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorOut(BaseModel):
    """Every error of these routes."""

    error: ErrorBody


OpenAIRoute = edge_route(openai_shape)


def declared(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these errors."""
    return {code: {"description": "An error.", "model": ErrorOut} for code in sorted({*codes, 429, 500, 503})}
