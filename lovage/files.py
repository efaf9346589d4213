"""`client.files`, for threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lovage import resources
from lovage.resources import Json

if TYPE_CHECKING:
    from lovage.client import Client


class Files:
    """What you have uploaded for inputs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> Iterator[Json]:
        """Newest first."""
        return self._client.pages("/v1/files")

    def get(self, file_id: str) -> Json:
        """What is known of one."""
        data: Json = self._client.request("GET", _path(file_id))
        return data

    def upload(self, path: str | Path, metadata: Mapping[str, Any] | None = None) -> Json:
        """A file of this machine; `urls.get` of the answer stands for it in an input."""
        return self._client.carry_out(resources.upload_file(Path(path), metadata))

    def delete(self, file_id: str) -> None:
        """Gone."""
        self._client.carry_out(resources.delete(_path(file_id)))


def _path(file_id: str) -> str:
    return f"/v1/files/{quote(file_id, safe='')}"
