"""How other platforms' clients read errors, for whatever answers one at an address of theirs: routes,
middleware, faults.

Knows no route and no error class.
"""

import re
from collections.abc import Callable
from typing import Any

from starlette.types import Scope

# (status, sentence, field or None, code or None) -> the body.
Shape = Callable[[int, str, str | None, str | None], dict[str, Any]]

CODES = {401: "invalid_api_key", 404: "not_found", 413: "payload_too_large", 429: "rate_limit_exceeded"}
TYPES = {403: "permission_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
ABSENT = "Lovage has no such part of this API; docs/reference says what there is."


def openai_shape(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """`{"error": …}`; without a code, the one that goes with the status, if any."""
    kind = TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code or CODES.get(status)}}


def rag_shape(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """What clients of Cohere (`message`), Jina (`detail`) and TEI (`error`, `error_type`) read."""
    kinds = {401: "unauthenticated", 404: "not_found", 413: "validation", 429: "overloaded"}
    kind = kinds.get(status, "validation" if status < 500 else "backend")
    return {"message": message, "detail": message, "error": message, "error_type": code or kind}


ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def anthropic_shape(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Anthropic's; the sentence names the field."""
    kind = ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def ollama_shape(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Ollama's; the sentence names the field."""
    return {"error": message}


oip_shape = ollama_shape  # the Open Inference Protocol has the same

RAG_PREFIXES = ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/tei/")
RAG_PATHS = ("/embed", "/embed_all", "/embed_sparse", "/predict", "/similarity", "/info", "/tokenize")
OPENAI_PREFIXES = (
    "/v1/completions",
    "/v1/chat/",
    "/v1/embeddings",
    "/v1/images/",
    "/v1/responses",
    "/v1/audio/",
    "/v1/moderations",
    "/v1/batches",
    "/v1/fine_tuning/",
    "/v1/assistants",
    "/v1/threads",
    "/v1/vector_stores",
    "/v1/realtime",
)
SHAPES: tuple[tuple[tuple[str, ...], Shape], ...] = (
    (OPENAI_PREFIXES, openai_shape),
    (RAG_PREFIXES, rag_shape),
    (("/v1/messages",), anthropic_shape),
    (("/api/",), ollama_shape),
    (("/v2",), oip_shape),
)
# Both OpenAI's and Replicate's clients call these: an error there has the members that either reads.
SHARED = ("/v1/models", "/v1/files")
OPENAI_CLIENTS = re.compile(rb"(Async)?OpenAI/")  # their User-Agent, in any language


def shape_for(scope: Scope) -> Shape | None:
    """The shape that the caller reads: that of the address, or of OpenAI's own clients wherever they call.
    None: ours."""
    path = str(scope["path"])
    for prefixes, shape in SHAPES:
        if path.startswith(prefixes):
            return shape
    if path in RAG_PATHS:
        return rag_shape
    return openai_shape if is_openai_client(scope) else None


def is_openai_client(scope: Scope) -> bool:
    """Whether one of OpenAI's own clients calls."""
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    return bool(OPENAI_CLIENTS.match(agent))


def is_shared(scope: Scope) -> bool:
    """Whether clients of both families call this address. Predictions of a model are Replicate's alone, and
    Vercel's client for it takes no error that is not a text."""
    path = str(scope["path"])
    return path.startswith(SHARED) and not path.endswith("/predictions")
