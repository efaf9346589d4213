"""One deadline for a whole outgoing call: resolving, connecting, TLS, head and body.

httpx limits the time of each read, so a receiver that sends one byte now and then, or `100 Continue`
without end, is never too slow for it. Here every wait of a call gets what is left until its deadline. A call
finds its deadline in a context variable, because a pooled connection serves many calls. Knows no address
policy.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from ipaddress import ip_address
from ssl import SSLContext
from typing import Any

import httpcore

LOOK_SECONDS = 0.25  # between looks at whether a call that can be canceled still has anybody
# Names resolved at once, each on a thread of its own: the system's resolver cannot be interrupted, and gives
# up by itself after some seconds for each server that it knows.
RESOLVERS = 64


class CallCanceled(Exception):
    """Nobody wants the answer any more."""


class Deadline:
    """`seconds` from now for everything. `is_canceled` is looked at while a call waits."""

    def __init__(self, seconds: float, is_canceled: Callable[[], bool] | None = None) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds
        self._is_canceled = is_canceled

    def left(self) -> float:
        """Seconds that are left, above 0. Raises TimeoutError, CallCanceled."""
        if self._is_canceled and self._is_canceled():
            raise CallCanceled("canceled")
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"it took longer than {self.seconds:g} s in all")
        return left

    def waits(self, silence: float | None) -> Iterator[float]:
        """Timeouts for waiting for one event again and again, until the deadline or for at most `silence`
        seconds in all. Raises TimeoutError, CallCanceled."""
        until = time.monotonic() + (silence or self.seconds)
        while True:
            left = min(self.left(), until - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"nothing came for {silence:g} s")
            yield min(left, LOOK_SECONDS) if self._is_canceled else left

    @contextmanager
    def bind(self) -> Iterator[None]:
        """The calls of this thread are bound by it meanwhile."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)
_resolving = threading.BoundedSemaphore(RESOLVERS)


def current_deadline(timeout: float | None) -> Deadline:
    """The bound one, or one of `timeout` seconds for this wait alone."""
    return _current.get() or Deadline(timeout or 60.0)


def resolve(host: str, port: int, deadline: Deadline) -> list[tuple[Any, ...]]:
    """As getaddrinfo. Raises OSError, UnicodeError, TimeoutError, CallCanceled."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    if _is_address(host):  # nobody is asked
        return list(look_up())
    _await(deadline, lambda seconds: _resolving.acquire(timeout=seconds))
    answer: Future[list[tuple[Any, ...]]] = Future()
    threading.Thread(target=_resolve_into, args=(answer, look_up), name="resolve", daemon=True).start()
    _await(deadline, lambda seconds: bool(wait([answer], seconds).done))
    return answer.result()


def _resolve_into(answer: "Future[list[tuple[Any, ...]]]", look_up: Callable[[], Any]) -> None:
    try:
        answer.set_result(list(look_up()))
    except Exception as error:  # noqa: BLE001 - raised where the answer is awaited
        answer.set_exception(error)
    finally:
        _resolving.release()


def _await(deadline: Deadline, wait_for: Callable[[float], bool]) -> None:
    for seconds in deadline.waits(None):
        if wait_for(seconds):
            return


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class DeadlineStream(httpcore.NetworkStream):
    """A connection whose reads and writes end at the deadline of the call that makes them."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            for seconds in current_deadline(timeout).waits(timeout):
                self._socket.settimeout(seconds)
                try:
                    return self._socket.recv(max_bytes)
                except TimeoutError:
                    continue  # the next wait tells whose time is up
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        raise AssertionError("waits never ends by itself")

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest, deadline = memoryview(buffer), current_deadline(timeout)
        try:
            while rest:
                rest = rest[self._write_some(rest, deadline, timeout) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def _write_some(self, data: memoryview, deadline: Deadline, timeout: float | None) -> int:
        for seconds in deadline.waits(timeout):
            self._socket.settimeout(seconds)
            try:
                return self._socket.send(data)
            except TimeoutError:
                continue
        raise AssertionError("waits never ends by itself")

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "DeadlineStream":
        try:  # a handshake has one timeout for all of its reads
            seconds = min(current_deadline(timeout).left(), timeout or float("inf"))
            return DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, seconds))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
