"""Standard Webhooks signatures, by its own library."""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

SECRET_BYTES = 32
PREFIX = "whsec_"


def new_secret() -> str:
    """`whsec_` and standard base64 (never URL-safe: one client splits at underscores)."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def headers(message_id: str, body: bytes, keys: Sequence[str], now: float) -> dict[str, str]:
    """The three headers of one attempt. Several keys (a rotation) give several signatures; `now` is Unix
    time."""
    moment = datetime.fromtimestamp(int(now), UTC)
    signatures = [Webhook(key).sign(message_id, moment, body.decode()) for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
        "content-type": "application/json",
    }
