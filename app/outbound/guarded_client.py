"""The one client for URLs that users name: resolves once, checks every address, connects to a checked one,
and is done by its deadline. It follows nothing but a few redirects of a file.

Used for webhooks and for file inputs.
"""

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpcore
import httpx

from app.outbound.addresses import AddressPolicy
from app.outbound.deadline import Deadline, DeadlineStream, current_deadline, resolve
from app.outbound.guard import check_url, checked_addresses

MOST_REDIRECTS = 3  # of a file's URL: releases and hubs redirect once or twice
CONNECT_SECONDS = 3.0  # for each address
MOST_ADDRESSES = 4  # tried of a name; one with thousands would cost seconds each
SILENCE_SECONDS = 20.0  # between two pieces of a file
FETCH_SECONDS = 300.0  # for a whole file: 100 MB at 3 Mbit/s


class _PinnedBackend(httpcore.SyncBackend):
    """Connects to the address that was checked, not to whatever the name means a moment later."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any
    ) -> httpcore.NetworkStream:
        deadline = current_deadline(timeout)
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._resolve(host, port, deadline)[:MOST_ADDRESSES]:
            try:
                seconds = min(CONNECT_SECONDS, timeout or CONNECT_SECONDS, deadline.left())
                return DeadlineStream(super().connect_tcp(address, port, seconds, *args, **kwargs))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            except TimeoutError as error:
                raise httpcore.ConnectTimeout(str(error)) from error
        raise failure

    def _resolve(self, host: str, port: int, deadline: Deadline) -> list[str]:
        try:
            infos = resolve(host, port, deadline)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} does not resolve: {error}") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} does not resolve") from error
        return checked_addresses(infos, self._policy)


class _Transport(httpx.HTTPTransport):
    def __init__(self, policy: AddressPolicy, connections: int) -> None:
        super().__init__(trust_env=False, retries=0)
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=5.0,
            network_backend=_PinnedBackend(policy),
        )


class GuardedClient:
    """Thread-safe: no redirects but those of files, no proxies, no environment, pinned addresses.
    `connections`: most that are open."""

    def __init__(self, policy: AddressPolicy, connections: int = 64) -> None:
        self._policy = policy
        self._client = httpx.Client(
            transport=_Transport(policy, connections), follow_redirects=False, trust_env=False
        )

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        deadline: Deadline,
        *,
        silence: float | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[httpx.Response]:
        """The answer, whose body is to be read within. Raises httpx's errors, Refused for an address that is
        not called, CallCanceled."""
        timeout = httpx.Timeout(silence or deadline.seconds, connect=CONNECT_SECONDS)
        with (
            deadline.bind(),
            self._client.stream(method, url, content=content, headers=headers, timeout=timeout) as answer,
        ):
            yield answer

    def fetch(
        self, url: str, target: Path, max_bytes: int, is_canceled: Callable[[], bool] | None = None
    ) -> None:
        """Downloads a URL into `target`; where it is redirected, each address is checked as the first one.
        Raises ValueError with a sentence for anything but a 200 of at most `max_bytes` within FETCH_SECONDS,
        CallCanceled."""
        deadline = Deadline(FETCH_SECONDS, is_canceled)
        try:
            for _ in range(1 + MOST_REDIRECTS):
                check_url(url, self._policy)
                with self.stream("GET", url, deadline, silence=SILENCE_SECONDS) as answer:
                    if not answer.has_redirect_location:
                        _write_answer(answer, target, max_bytes)
                        return
                    url = urljoin(url, answer.headers["location"])
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ValueError(f"the URL could not be read: {str(error) or type(error).__name__}") from error
        raise ValueError(f"the URL redirects more than {MOST_REDIRECTS} times")

    def close(self) -> None:
        self._client.close()


def _write_answer(answer: httpx.Response, target: Path, max_bytes: int) -> None:
    if answer.status_code != httpx.codes.OK:
        raise ValueError(f"the URL answered {answer.status_code}")
    size = 0
    with target.open("wb") as out:
        for block in answer.iter_bytes():
            size += len(block)
            if size > max_bytes:
                raise ValueError(f"the file is larger than {max_bytes} bytes")
            out.write(block)
