"""`client.webhooks`, for threads; `verify` for anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lovage import resources
from lovage.errors import LovageError
from lovage.resources import Json

if TYPE_CHECKING:
    from lovage.client import Client


def verify(secret: str, body: bytes | str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The prediction of a delivery that your secret has signed within the last five minutes. Raises
    LovageError, code `wrong_signature`, for any other."""
    from standardwebhooks import Webhook, WebhookVerificationError

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
        return str(self.secrets()["key"])

    def secrets(self) -> Json:
        """It, as `key`, and the one before, `previous_key`, while that is valid."""
        data: Json = self._client.request("GET", resources.WEBHOOK_SECRET)
        return data

    def rotate_secret(self, overlap_hours: float = 24) -> Json:
        """Replaces it: the new one is `key`; the old one, `previous_key`, stays valid for so long."""
        return self._client.carry_out(resources.rotate_secret(overlap_hours))

    def deliveries(self, **filters: Any) -> Iterator[Json]:
        """Newest first, each with its attempts. `filters`: `failed`; of administrators `user`."""
        return self._client.pages("/v1/webhooks/deliveries", filters)

    def redeliver(self, prediction_id: str, delivery_id: str = "") -> list[str]:
        """Sends a prediction's webhooks again, or one of them: the same bodies, newly signed, by the same
        ids, which are the answer."""
        return self._client.carry_out(resources.redeliver(prediction_id, delivery_id))

    def verify(self, body: bytes | str, headers: Mapping[str, str], secret: str = "") -> dict[str, Any]:
        """As the function `verify`; without a secret, it is asked for."""
        return verify(secret or self.secret(), body, headers)
