"""`models`, `keys`, `files` and `webhooks` of AsyncClient: the methods of those of Client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lovage import resources
from lovage.resources import Json, model_path
from lovage.webhooks import verify

if TYPE_CHECKING:
    from lovage.async_client import AsyncClient


class AsyncModels:
    """As Models."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def list(self) -> AsyncIterator[Json]:
        """As Models'."""
        return self._client.pages("/v1/models")

    async def get(self, name: str) -> Json:
        """As Models'."""
        data: Json = await self._client.request("GET", model_path(name))
        return data

    async def create(self, name: str, **values: Any) -> Json:
        """As Models'."""
        return await self._client.carry_out(resources.create_model(name, values))

    async def delete(self, name: str) -> None:
        """As Models'."""
        await self._client.carry_out(resources.delete(model_path(name)))

    def versions(self, name: str) -> AsyncIterator[Json]:
        """As Models'."""
        return self._client.pages(f"{model_path(name)}/versions")

    async def create_version(self, name: str, **values: Any) -> Json:
        """As Models'."""
        return await self._client.carry_out(resources.create_version(name, values))

    async def version(self, name: str, version: str) -> Json:
        """As Models'."""
        data: Json = await self._client.request("GET", resources.version_path(name, version))
        return data

    async def release(self, name: str, version: str) -> Json:
        """As Models'."""
        return await self._client.carry_out(resources.release(name, version))

    async def check(self, **values: Any) -> Json:
        """As Models'."""
        return await self._client.carry_out(resources.check_version(values))

    async def push(self, folder: str | Path, name: str, *, progress: bool = False) -> str:
        """As Models'."""
        return await self._client.in_thread(
            lambda client: client.models.push(folder, name, progress=progress)
        )


class AsyncKeys:
    """As Keys."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self) -> list[Json]:
        """As Keys'."""
        keys: list[Json] = (await self._client.request("GET", "/v1/keys"))["results"]
        return keys

    async def create(
        self, name: str, scopes: Sequence[str] = ("predict",), expires_at: str | None = None
    ) -> Json:
        """As Keys'."""
        return await self._client.carry_out(resources.create_key(name, [*scopes], expires_at))

    async def delete(self, key_id: str) -> None:
        """As Keys'."""
        await self._client.carry_out(resources.delete(f"/v1/keys/{quote(key_id, safe='')}"))


class AsyncFiles:
    """As Files."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def list(self) -> AsyncIterator[Json]:
        """As Files'."""
        return self._client.pages("/v1/files")

    async def get(self, file_id: str) -> Json:
        """As Files'."""
        data: Json = await self._client.request("GET", f"/v1/files/{quote(file_id, safe='')}")
        return data

    async def upload(self, path: str | Path, metadata: Mapping[str, Any] | None = None) -> Json:
        """As Files'."""
        return await self._client.carry_out(resources.upload_file(Path(path), metadata))

    async def delete(self, file_id: str) -> None:
        """As Files'."""
        await self._client.carry_out(resources.delete(f"/v1/files/{quote(file_id, safe='')}"))


class AsyncWebhooks:
    """As Webhooks."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def secret(self) -> str:
        """As Webhooks'."""
        return str((await self.secrets())["key"])

    async def secrets(self) -> Json:
        """As Webhooks'."""
        data: Json = await self._client.request("GET", resources.WEBHOOK_SECRET)
        return data

    async def rotate_secret(self, overlap_hours: float = 24) -> Json:
        """As Webhooks'."""
        return await self._client.carry_out(resources.rotate_secret(overlap_hours))

    def deliveries(self, **filters: Any) -> AsyncIterator[Json]:
        """As Webhooks'."""
        return self._client.pages("/v1/webhooks/deliveries", filters)

    async def redeliver(self, prediction_id: str, delivery_id: str = "") -> list[str]:
        """As Webhooks'."""
        return await self._client.carry_out(resources.redeliver(prediction_id, delivery_id))

    async def verify(self, body: bytes | str, headers: Mapping[str, str], secret: str = "") -> dict[str, Any]:
        """As Webhooks'."""
        return verify(secret or await self.secret(), body, headers)
