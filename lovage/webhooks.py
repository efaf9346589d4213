"""`client.webhooks`, for threads; `verify` for anybody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from standardwebhooks import Webhook, WebhookVerificationError

from lovage.errors import LovageError

if TYPE_CHECKING:
    from lovage.client import Client


def verify(secret: str, body: bytes | str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The prediction of a delivery that your secret has signed within the last five minutes. Raises
    LovageError, code `wrong_signature`, for any other."""
    try:
        data: dict[str, Any] = Webhook(secret).verify(body, dict(headers))
    except (WebhookVerificationError, ValueError, RuntimeError) as error:
        raise LovageError(f"the webhook is not to be trusted: {error}", code="wrong_signature") from None
    return data


class Webhooks:
    """Yours."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def secret(self) -> str:
        """That with which deliveries are signed."""
        return str(self._client.request("GET", "/v1/webhooks/default/secret")["key"])

    def verify(self, body: bytes | str, headers: Mapping[str, str], secret: str = "") -> dict[str, Any]:
        """As the function `verify`; without a secret, it is asked for."""
        return verify(secret or self.secret(), body, headers)
