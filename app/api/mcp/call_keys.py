"""What a call of the protocol is known by: a session's name and the call's own number."""

import hashlib

SESSION = "mcp-session-id"


def call_key(session: str, request_id: int | str) -> str:
    """The idempotency key of a call."""
    name = f"{session}\x00{type(request_id).__name__}\x00{request_id}"
    return "mcp-" + hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
