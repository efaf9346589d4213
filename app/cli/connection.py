"""A client of the public API for the command line: where the platform is, and how failures become a sentence."""

import json
import sys
from typing import Any, NoReturn

import httpx

from app.settings import load_client

EXIT_FAILED = 1  # the prediction failed, or the server refused
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_CANCELED = 4


def stop(sentence: str, code: int = EXIT_FAILED) -> NoReturn:
    """Ends the command with one sentence on standard error."""
    print(f"lovage: {sentence.strip()}", file=sys.stderr)
    raise SystemExit(code)


class Api:
    """Calls answer parsed JSON; anything else ends the command."""

    def __init__(self, url: str = "") -> None:
        """`url` goes before LOVAGE_URL."""
        settings = load_client()
        self.url, token = (url or settings.lovage_url).rstrip("/"), settings.lovage_token
        if not self.url:
            self.url = _local_url(settings.lovage_data_dir)
        if not token:
            key = settings.lovage_data_dir / "key"
            token = key.read_text().strip() if key.is_file() else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=httpx.Timeout(75, connect=5), trust_env=False)

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """The JSON of an answer (None for an empty one)."""
        try:
            answer = self.client.request(method, path, **kwargs)
        except httpx.ConnectError:
            stop(f"{self.url} does not answer. Is it running? `lovage up` starts it.", EXIT_UNREACHABLE)
        except httpx.HTTPError as error:
            stop(f"{self.url}: {error or type(error).__name__}", EXIT_UNREACHABLE)
        if answer.is_error:
            stop(problem(answer))
        return answer.json() if answer.content else None


def problem(answer: httpx.Response) -> str:
    """The sentence of an error answer."""
    try:
        detail = answer.json().get("detail", "")
    except (json.JSONDecodeError, AttributeError):
        detail = answer.text[:300]
    return str(detail) or f"the server answered {answer.status_code}"


def _local_url(data_dir: Any) -> str:
    from app.local.platform_state import read_platform

    platform = read_platform(data_dir.absolute())
    return platform.api_url if platform else "http://127.0.0.1:8000"


def show_json(value: Any) -> None:
    """For scripts: standard output, indented."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
