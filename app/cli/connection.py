"""A client of the public API for the command line: where the platform is, and how failures become a
sentence."""

import ipaddress
import json
import sys
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

import httpx
import typer

from app.cli import screen
from app.settings import load_client

EXIT_FAILED = 1  # the prediction failed, or the server refused
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_CANCELED = 4
PAGE = 100  # results of one answer
JSON = typer.Option("--json", help="Print JSON.")


def stop(sentence: str, code: int = EXIT_FAILED) -> NoReturn:
    """Ends the command with one sentence on standard error."""
    print(f"lovage: {screen.visible(sentence.strip())}", file=sys.stderr)
    raise SystemExit(code)


class ApiError(Exception):
    """The platform refused or did not answer; `code` is the command's exit code, `status` the answer's (0:
    there was none)."""

    def __init__(self, sentence: str, code: int, status: int = 0) -> None:
        super().__init__(sentence)
        self.code, self.status = code, status


class Api:
    """Calls answer parsed JSON; anything else ends the command."""

    def __init__(self, url: str = "", token: str = "") -> None:
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
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self.client = httpx.Client(
                base_url=self.url, headers=headers, timeout=httpx.Timeout(75, connect=5), trust_env=False
            )
        except httpx.InvalidURL as error:
            stop(f"{self.url}: is not a URL: {error}", EXIT_USAGE)

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """The JSON of an answer (None for an empty one)."""
        try:
            return self.ask(method, path, **kwargs)
        except ApiError as error:
            stop(str(error), error.code)

    def every(
        self, path: str, params: dict[str, Any] | None = None, *, most: int | None = None
    ) -> list[dict[str, Any]]:
        """The results of page after page, `most` at most."""
        results: list[dict[str, Any]] = []
        page = self.call("GET", path, params={**(params or {}), "limit": min(PAGE, most or PAGE)})
        results += page["results"]
        while page["next"] and (most is None or len(results) < most):
            # Its query only: the host is what PUBLIC_URL says, and no other host may get our key.
            page = self.call("GET", path, params=dict(parse_qsl(urlsplit(page["next"]).query)))
            results += page["results"]
        return results[:most]

    def ask(self, method: str, path: str, **kwargs: Any) -> Any:
        """Like `call`, for commands that have something to save first. Raises ApiError."""
        try:
            answer = self.client.request(method, path, **kwargs)
        except httpx.ConnectError:
            raise ApiError(self._unreachable(), EXIT_UNREACHABLE) from None
        except httpx.HTTPError as error:
            raise ApiError(f"{self.url}: {error or type(error).__name__}", EXIT_UNREACHABLE) from None
        if not answer.is_success:
            raise ApiError(problem(answer) + self._whose_key(answer), EXIT_FAILED, answer.status_code)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            sentence = f"{self.url} answers, but not as Lovage does. Is it the API's address?"
            raise ApiError(sentence, EXIT_FAILED, answer.status_code) from None

    def _unreachable(self) -> str:
        sentence = f"{self.url} does not answer. Is it running? `lovage up` starts it."
        if self._is_looked_up:
            sentence += (
                f" (Looked in {self._folder.absolute()}; for a platform elsewhere set LOVAGE_DATA_DIR, or"
                " LOVAGE_URL and LOVAGE_TOKEN.)"
            )
        return sentence

    def _whose_key(self, answer: httpx.Response) -> str:
        """Of a refused credential: where it came from."""
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return ""
        return f" (The key is from {self._origin}.)" if self._origin else " (No key: set LOVAGE_TOKEN.)"


def is_own(url: str) -> bool:
    """Whether a URL is this machine's; an empty one is the platform that `lovage up` started."""
    try:
        host = urlsplit(url).hostname or "localhost"
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or no URL at all
        return False


def problem(answer: httpx.Response) -> str:
    """The sentence of an error answer."""
    try:
        detail = answer.json().get("detail", "")
    except (ValueError, AttributeError):
        detail = answer.text[:300]
    sentence = str(detail).strip()
    if "\n" not in sentence:
        sentence = sentence.removeprefix("- ")  # one problem is a sentence, not a list
    return sentence or f"the server answered {answer.status_code}"


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
