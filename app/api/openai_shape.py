"""OpenAI's error object, for whatever answers an error at one of OpenAI's addresses: routes, middleware,
faults.

Knows no request and no error class.
"""

from typing import Any

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


def is_openai(path: str) -> bool:
    """Whether only OpenAI's clients call this address. /v1/models and /v1/files are shared with
    Replicate's."""
    return path.startswith(PREFIXES)


def shape(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """`{"error": …}`; without a code, the one that goes with the status, if any."""
    kind = TYPES.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code or CODES.get(status)}}
