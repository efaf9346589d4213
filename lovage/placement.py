"""Which worker a session is with at the moment, and where to go when a call fails: step by step, for both
clients. Opens no connection."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lovage.errors import LovageError, Refused, Unreachable
from lovage.flow import Flow, Pause, Request, pause_before, send
from lovage.values import SessionInfo, Tls

TRIES = 5  # of one call
RENEW_SECONDS = 60.0  # before its end a token is replaced
HTTP_SECONDS = 15.0  # so long is HTTP used before a worker is looked for again
GONE = ("unavailable", "data_loss", "unreachable")


@dataclass(frozen=True, slots=True)
class Options:
    """Of a session. `device`, `memory_bytes`: what its worker must have. `task`: what the model must be for.
    The same `affinity` key leads to the same worker while it is healthy. `records`: `async` for speed, see
    docs/reference/grpc.md. `fallback`: by HTTP where no worker takes calls, unless `device` or
    `memory_bytes` say what it must be."""

    model: str
    device: str = ""
    memory_bytes: int = 0
    affinity: str = ""
    records: str = "sync"
    tls: Tls = field(default_factory=Tls)
    fallback: bool = True
    task: str = ""

    def body(self, exclude: list[str]) -> dict[str, Any]:
        """Of POST /v1/sessions."""
        wishes = {"device": self.device, "memory_bytes": self.memory_bytes, "task": self.task}
        values = {
            "model": self.model,
            "requirements": {name: value for name, value in wishes.items() if value},
            "affinity": self.affinity,
            "exclude": exclude,
            "records": self.records,
        }
        return {name: value for name, value in values.items() if value}


class Placement:
    """`worker` is what `connect` has made of the session; None: HTTP."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.worker: Any = None
        self.info: SessionInfo | None = None
        self._exclude: list[str] = []
        self._ends_at = 0.0
        self._http_until = 0.0

    def place(self, connect: Callable[[SessionInfo, Tls], Any]) -> Flow[Any]:
        """The worker to call now; None: HTTP. `connect` gives a step whose outcome is the worker. Raises
        LovageError where there is no fallback."""
        if self.worker is not None and time.time() < self._ends_at - RENEW_SECONDS:
            return self.worker
        if time.monotonic() < self._http_until:
            return None
        try:
            data = yield from send(self._request(), tries=1)
            info = SessionInfo.from_json(data)
            worker = yield connect(info, self.options.tls)
        except (Refused, Unreachable) as error:
            if not self._may_fall_back(error):
                raise
            self.leave()
            self._http_until = time.monotonic() + HTTP_SECONDS
            return None
        if worker is None:  # gRPC is not installed
            self._http_until = float("inf")
            return None
        self.worker, self.info = worker, info
        self._ends_at = datetime.fromisoformat(info.expires_at).timestamp()
        return worker

    def _request(self) -> Request:
        return Request("POST", "/v1/sessions", json=self.options.body(self._exclude), may_repeat=True)

    def _may_fall_back(self, error: LovageError) -> bool:
        is_away = isinstance(error, Unreachable) or error.status in (502, 503, 504)
        is_anywhere = not self.options.device and not self.options.memory_bytes
        return self.options.fallback and is_anywhere and is_away

    def leave(self, *, exclude: bool = True) -> None:
        """The worker is not called any more."""
        if exclude and self.info and self.info.worker not in self._exclude:
            self._exclude = [*self._exclude[-20:], self.info.worker]
        self.worker = self.info = None

    def recover(self, error: LovageError, number: int) -> Flow[None]:
        """After the try of this number has failed: elsewhere, later, or not at all. Raises the error."""
        if number >= TRIES:
            raise error
        if error.code in GONE:
            self.leave()
        elif error.code == "unauthenticated" and self.info:
            self.leave(exclude=False)  # its token has expired
        elif error.retry_after is not None:
            yield Pause(error.retry_after * number)
            return
        else:
            raise error
        yield Pause(pause_before(number) / 5)
