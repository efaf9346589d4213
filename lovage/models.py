"""`client.models`, for threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lovage import resources, uploads
from lovage.progress import ignore, progress_bar
from lovage.resources import Json, model_path

if TYPE_CHECKING:
    from lovage.client import Client


class Models:
    """What is registered. Names are `owner/name`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> Iterator[Json]:
        """All that you may see."""
        return self._client.pages("/v1/models")

    def get(self, name: str) -> Json:
        """A model, with its newest version."""
        data: Json = self._client.request("GET", model_path(name))
        return data

    def create(self, name: str, **values: Any) -> Json:
        """A model (description, visibility, …), with its first `version` if that is given."""
        return self._client.carry_out(resources.create_model(name, values))

    def delete(self, name: str) -> None:
        """With its versions."""
        self._client.carry_out(resources.delete(model_path(name)))

    def versions(self, name: str) -> Iterator[Json]:
        """Newest first."""
        return self._client.pages(f"{model_path(name)}/versions")

    def create_version(self, name: str, **values: Any) -> Json:
        """Of source, runtime, task and config."""
        return self._client.carry_out(resources.create_version(name, values))

    def version(self, name: str, version: str) -> Json:
        """One, by its id or a tag."""
        data: Json = self._client.request("GET", resources.version_path(name, version))
        return data

    def release(self, name: str, version: str) -> Json:
        """Makes a version the one that the model's name means."""
        return self._client.carry_out(resources.release(name, version))

    def check(self, **values: Any) -> Json:
        """What registering a version (source, runtime, task, config) would find, and why it would be
        refused; nothing is registered."""
        return self._client.carry_out(resources.check_version(values))

    def push(self, folder: str | Path, name: str, *, progress: bool = False) -> str:
        """Uploads a folder in parts; what is there already is not sent again, so that a call that broke off
        goes on. The answer is the `source` for `create_version`. Raises ValueError for a folder without a
        model."""
        path = Path(folder)
        plan = uploads.plan(self._client, path, name)
        bar = progress_bar(name, plan.total, plan.total - plan.missing) if progress else nullcontext(ignore)
        with bar as advance:
            uploads.send_parts(self._client, plan.parts, advance)
        return plan.source
