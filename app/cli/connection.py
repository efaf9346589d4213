"""A client of the public API for the command line: where the platform is, and how failures become a
sentence."""

import ipaddress
import json
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import typer

from app.cli import screen
from app.settings import load_client
from lovage.client import Client
from lovage.errors import LovageError, Refused, Unreachable
from lovage.flow import UNAUTHORIZED, Flow

T = TypeVar("T")

EXIT_FAILED = 1  # the prediction failed, or the server refused
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_CANCELED = 4
PAGE = 100  # results of one answer
ANSWER_SECONDS = 75.0  # more than the platform itself waits for a worker
JSON = typer.Option("--json", help="Print JSON.")


def stop(sentence: str, code: int = EXIT_FAILED) -> NoReturn:
    """Ends the command with one sentence on standard error."""
    print(f"lovage: {screen.visible(sentence.strip())}", file=sys.stderr)
    raise SystemExit(code)


class ApiError(Exception):
    """The platform refused or did not answer; `code` is the command's exit code, `status` the answer's (0:
    there was none). One that no command handles ends it with its sentence."""

    def __init__(self, sentence: str, code: int, status: int = 0) -> None:
        super().__init__(sentence)
        self.code, self.status = code, status


class Api(Client):
    """The client of docs/reference/sdk.md, with the command line's own ways to find the platform and to say
    what went wrong: its calls raise ApiError. Sends each call once, as a person waits for it, unless `tries`
    says otherwise."""

    def __init__(self, url: str = "", token: str = "", *, tries: int = 1) -> None:
        """`url` goes before LOVAGE_URL, `token` before LOVAGE_TOKEN."""
        settings = load_client()
        address = (url or settings.lovage_url).rstrip("/")
        self._folder = settings.lovage_data_dir
        self.url = address or _local_url(self._folder)
        self._is_looked_up = not address
        token, self._origin = token or settings.lovage_token, "LOVAGE_TOKEN"
        if not token and is_own(address):  # the local key is an administrator's: no other machine may get it
            token, self._origin = _local_key(self._folder), str(self._folder / "key")
        if not token:
            self._origin = ""
        self.token = token
        try:
            super().__init__(self.url, token, timeout=ANSWER_SECONDS, tries=tries)
        except LovageError as error:
            stop(str(error), EXIT_USAGE)

    @property
    def headers(self) -> dict[str, str]:
        """That a program sends which calls the platform in the command's stead."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def carry_out(self, flow: Flow[T], do: Callable[[Any], Any] | None = None) -> T:
        """As Client's. Raises ApiError."""
        try:
            return super().carry_out(flow, do)
        except Refused as error:
            raise ApiError(str(error) + self._whose_key(error), EXIT_FAILED, error.status) from None
        except Unreachable as error:
            raise self._explain(error) from None

    def every(
        self, path: str, params: dict[str, Any] | None = None, *, most: int | None = None
    ) -> list[dict[str, Any]]:
        """The results of page after page, `most` at most."""
        query = {**(params or {}), "limit": min(PAGE, most or PAGE)}
        return list(islice(self.pages(path, query), most))

    def _explain(self, error: Unreachable) -> ApiError:
        if error.code == "not_lovage":
            sentence = f"{self.url} answers, but not as Lovage does. Is it the API's address?"
            return ApiError(sentence, EXIT_FAILED, error.status)
        return ApiError(str(error) if error.was_sent else self._unreachable(), EXIT_UNREACHABLE)

    def _unreachable(self) -> str:
        sentence = f"{self.url} does not answer. Is it running? `lovage up` starts it."
        if self._is_looked_up:
            sentence += (
                f" (Looked in {self._folder.absolute()}; for a platform elsewhere set LOVAGE_DATA_DIR, or"
                " LOVAGE_URL and LOVAGE_TOKEN.)"
            )
        return sentence

    def _whose_key(self, error: Refused) -> str:
        """Of a refused credential: where it came from."""
        is_refused = error.status == UNAUTHORIZED and self._origin
        return f" (The key is from {self._origin}.)" if is_refused else ""


def is_own(url: str) -> bool:
    """Whether a URL is this machine's; an empty one is the platform that `lovage up` started."""
    try:
        host = urlsplit(url).hostname or "localhost"
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or no URL at all
        return False


def _local_key(data_dir: Path) -> str:
    key = data_dir / "key"
    return key.read_text().strip() if key.is_file() else ""


def _local_url(data_dir: Path) -> str:
    from app.local.platform_state import read_platform

    platform = read_platform(data_dir.absolute())
    return platform.api_url if platform else "http://127.0.0.1:8000"


def split_model(model: str) -> tuple[str, str]:
    """The address of a model and the version's id ("" for the newest)."""
    path, _, version = model.partition(":")
    if path.count("/") != 1 or path.startswith("/") or path.endswith("/"):
        stop(f"{model}: must be owner/name or owner/name:version", EXIT_USAGE)
    return path, version


def show_outcome(outcome: Any, sentence: str, as_json: bool) -> None:
    """What an act did: `outcome` for scripts, the sentence for people."""
    if as_json:
        show_json(outcome)
    else:
        print(sentence)


def show_json(value: Any) -> None:
    """For scripts: standard output, indented."""
    print(screen.visible(json.dumps(value, indent=2, ensure_ascii=False)))
