"""Ollama's error shape on Ollama's routes, from the same errors as everywhere else."""

from typing import Any

from pydantic import BaseModel

from app.api.error_shapes import ollama_shape
from app.api.model_calls.edge_route import edge_route


class OllamaErrorOut(BaseModel):
    """Every error of these routes."""

    error: str


# Ollama's documentation calls it by `curl -d`, which says that the body is a form; litellm says nothing.
OllamaRoute = edge_route(ollama_shape, any_type=True)


def declared(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these errors."""
    return {
        code: {"description": "An error.", "model": OllamaErrorOut}
        for code in sorted({*codes, 429, 500, 503})
    }
