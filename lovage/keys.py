"""`client.keys`, for threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from lovage import resources
from lovage.resources import Json

if TYPE_CHECKING:
    from lovage.client import Client


class Keys:
    """Your API keys."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[Json]:
        """Without the keys themselves, which are not kept."""
        keys: list[Json] = self._client.request("GET", "/v1/keys")["results"]
        return keys

    def create(self, name: str, scopes: Sequence[str] = ("predict",), expires_at: str | None = None) -> Json:
        """A key, in `key`; it is shown this once. `expires_at` in ISO 8601."""
        return self._client.carry_out(resources.create_key(name, [*scopes], expires_at))

    def delete(self, key_id: str) -> None:
        """Revokes it."""
        self._client.carry_out(resources.delete(f"/v1/keys/{quote(key_id, safe='')}"))
