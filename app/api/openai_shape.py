"""OpenAI's error object, for whatever answers an error at one of OpenAI's addresses: routes, middleware,
faults.

Knows no route and no error class.
"""

import re
from typing import Any

from starlette.types import Scope

PREFIXES = (
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
CODES = {401: "invalid_api_key", 404: "not_found", 413: "payload_too_large", 429: "rate_limit_exceeded"}
TYPES = {403: "permission_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
ABSENT = (
    "Lovage has no such part of OpenAI's API; it has chat/completions, completions, embeddings,"
    " images/generations and models."
)


# Both OpenAI's and Replicate's clients call these: an error there has the members that either reads.
SHARED = ("/v1/models", "/v1/files")
OWN_CLIENTS = re.compile(rb"(Async)?OpenAI/")  # the User-Agent of OpenAI's own clients, in any language


def is_openai(scope: Scope) -> bool:
    """Whether the caller reads OpenAI's errors: only its clients call this address, or the caller is one."""
    if str(scope["path"]).startswith(PREFIXES):
        return True
    agent = next((value for name, value in scope["headers"] if name == b"user-agent"), b"")
    return OWN_CLIENTS.match(agent) is not None


def is_shared(scope: Scope) -> bool:
    """Whether clients of both families call this address."""
    return str(scope["path"]).startswith(SHARED)


def shape(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """`{"error": …}`; without a code, the one that goes with the status, if any."""
    kind = TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code or CODES.get(status)}}
