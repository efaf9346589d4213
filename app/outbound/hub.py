"""The Hugging Face hub, or a mirror that speaks its protocol: what a model's repository holds, and its files.

The library is imported when it is first used: an API process that registers no model holds nothing of it.
Knows no version and no runtime.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx


class HubFailed(Exception):
    """The hub gave no answer, or not the one that was hoped for. Its text is the library's, never empty."""


class HubGated(HubFailed):
    """The terms of the repository must be accepted first."""


class HubNoRevision(HubFailed):
    """The repository is there, this revision of it is not."""


class HubNoRepository(HubFailed):
    """Absent, or private to others."""


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository at one commit. `files` are (name, size in bytes; 0 where the hub does not say); `tag`
    is its author's word for what the model does, "" for none. `is_open`: anybody may have its files.
    `parameters`: how many numbers of each dtype its safetensors hold, where the hub knows."""

    commit: str
    files: Sequence[tuple[str, int]]
    tag: str = ""
    is_open: bool = True
    parameters: Mapping[str, int] = field(default_factory=dict)


class HubClient:
    """Thread-safe; calls block. Empty `endpoint`: the library's default. Without a token the login that is
    saved on this machine is used, if `saved_login` allows that."""

    def __init__(self, endpoint: str = "", token: str = "", *, saved_login: bool) -> None:
        self._endpoint = endpoint or None
        self._token: str | bool | None = token or (None if saved_login else False)

    def _api(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self._endpoint, token=self._token, library_name="lovage")

    def repository(self, name: str, revision: str = "") -> HubRepository:
        """What it holds at a revision ("": the newest). Raises HubFailed."""
        with _failures():
            info = self._api().model_info(name, revision=revision or None, files_metadata=True)
        files = [(entry.rfilename, entry.size or 0) for entry in info.siblings or []]
        is_open = not info.gated and not info.private
        parameters = dict(info.safetensors.parameters) if info.safetensors else {}
        return HubRepository(str(info.sha), files, info.pipeline_tag or "", is_open, parameters)

    def read_files(self, name: str, commit: str, files: Sequence[str]) -> dict[str, bytes]:
        """The contents of small files by their names. Raises HubFailed."""
        with _failures(), TemporaryDirectory(prefix="lovage-hub-") as folder:
            api = self._api()
            paths = {
                file: api.hf_hub_download(name, file, revision=commit, cache_dir=folder) for file in files
            }
            return {file: Path(path).read_bytes() for file, path in paths.items()}

    def download(self, name: str, file: str, revision: str, folder: Path) -> None:
        """Puts one file into a folder, under its own name; what was fetched of it before is used. Raises
        HubFailed."""
        with _failures():
            self._api().hf_hub_download(name, file, revision=revision or None, local_dir=folder)


@contextmanager
def _failures() -> Iterator[None]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise HubGated(_reason(error)) from error
    except RevisionNotFoundError as error:
        raise HubNoRevision(_reason(error)) from error
    except RepositoryNotFoundError as error:
        raise HubNoRepository(_reason(error)) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise HubFailed(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__  # a time-out may say nothing
