"""What both clients make of httpx: where the platform is, a request's fields, answers and errors."""

import os
from typing import Any

import httpx

from lovage.errors import LovageError, Unreachable
from lovage.flow import Answer, Request
from lovage.streams import StreamReader

CONNECT_SECONDS = 5.0
LOCAL = "http://127.0.0.1:8000"
Json = dict[str, Any]


def http_options(url: str, token: str, timeout: float) -> dict[str, Any]:
    """Of httpx's client. Raises LovageError, code `wrong_url`, for what is no URL."""
    base = (url or os.environ.get("LOVAGE_URL") or LOCAL).rstrip("/")
    key = token or os.environ.get("LOVAGE_TOKEN") or ""
    if not base.startswith(("http://", "https://")):
        raise LovageError(f"{base}: must begin with http:// or https://", code="wrong_url")
    try:
        httpx.URL(base)
    except httpx.InvalidURL as error:
        raise LovageError(f"{base}: is not a URL: {error}", code="wrong_url") from None
    return {
        "base_url": base,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "timeout": httpx.Timeout(timeout, connect=CONNECT_SECONDS),
        "trust_env": False,
    }


def fields_of(request: Request) -> dict[str, Any]:
    """For httpx's `request`."""
    fields: dict[str, Any] = {
        "method": request.method,
        "url": request.path,
        "params": request.params,
        "headers": dict(request.headers),
        "files": request.files,
        "content": request.content,
    }
    if request.json is not None:
        fields["json"] = request.json
    if request.seconds is not None:
        fields["timeout"] = httpx.Timeout(request.seconds, connect=CONNECT_SECONDS)
    return {name: value for name, value in fields.items() if value is not None}


def as_answer(answer: httpx.Response) -> Answer:
    """Read. Raises Unreachable for a success that is not Lovage's."""
    try:
        data = answer.json() if answer.content else None
    except ValueError:
        data = None
        if answer.is_success:
            sentence = f"{answer.url.host} answers, but not as Lovage does. Is it the API's address?"
            raise Unreachable(sentence, code="not_lovage") from None
    had_key = "authorization" in answer.request.headers
    return Answer(answer.status_code, data, answer.headers, answer.text[:300], had_key)


def unreachable(url: httpx.URL, error: httpx.TransportError) -> Unreachable:
    """Of a request without an answer."""
    outcome = Unreachable(f"{url}: {error or type(error).__name__}", code="unreachable")
    outcome.was_sent = not isinstance(error, httpx.ConnectError)
    return outcome


def stream_request(http: httpx.Client | httpx.AsyncClient, reader: StreamReader) -> httpx.Request:
    """Of a stream's next connection. The platform says where it is; another host gets no key."""
    request = http.build_request("GET", reader.url, headers=reader.headers)
    if request.url.host != http.base_url.host:
        request.headers.pop("Authorization", None)
    return request
