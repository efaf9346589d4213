"""What the addresses that RAG tools call have in common: a model that the request need not name, and the
errors that they declare."""

from typing import Any

from fastapi import Request
from pydantic import BaseModel

from app.api.model_calls.calls import Call, open_call
from app.api.model_calls.failures import NoModel

# Aliases (MODEL_ALIASES) of the models that are meant where a client of TEI names none.
EMBED = "tei-embed"
RERANK = "tei-rerank"
PREDICT = "tei-predict"


async def open_rag_call(request: Request, model: str, alias: str) -> Call:
    """The call of the model that is named by the body or the address, or else of what the alias stands for.
    Raises as `open_call`."""
    parts = (request.path_params.get(part) for part in ("owner", "name"))
    named = model or "/".join(filter(None, parts))
    try:
        return await open_call(request, named or alias)
    except NoModel:
        if named:
            raise
        raise NoModel(
            "Say which model is meant: by `model` in the body, by the base URL /tei/owner/name, or for all"
            f" such calls by MODEL_ALIASES={alias}=owner/name."
        ) from None


PATH_PARAMETERS: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("owner", "name")
    ]
}


class RagErrorOut(BaseModel):
    """Every error of these routes: what clients of Cohere, Jina and TEI read."""

    message: str
    detail: str
    error: str
    error_type: str


def declared(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these errors."""
    return {
        code: {"description": "An error.", "model": RagErrorOut} for code in sorted({*codes, 429, 500, 503})
    }
