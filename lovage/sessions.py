"""`client.sessions`, for threads: a model at a worker itself, by gRPC, and by HTTP where that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from lovage.errors import LovageError, Refused
from lovage.flow import Flow
from lovage.placement import TRIES, Options, Placement
from lovage.tensors import Tensor
from lovage.values import Event, Prediction, SessionInfo, Tls

if TYPE_CHECKING:
    from lovage.client import Client
    from lovage.worker import Worker

ONLY_DIRECT = "No worker takes direct calls now, and tensors and pairs go no other way in this client."


@dataclass(frozen=True, slots=True)
class Connect:
    """A step: a channel to this worker. Its outcome is None where gRPC is not installed."""

    info: SessionInfo
    tls: Tls


@dataclass(frozen=True, slots=True)
class Invoke:
    """A step: a call of a worker."""

    call: Callable[[], Any]


def call_worker(placement: Placement, name: str, arguments: Sequence[Any]) -> Flow[Any]:
    """The answer of a worker's method, tried elsewhere and later as its errors say; None where HTTP is to be
    used instead. Raises LovageError."""
    for number in range(1, TRIES + 1):
        worker = yield from placement.place(Connect)
        if worker is None:
            return None
        try:
            return (yield Invoke(lambda worker=worker: getattr(worker, name)(*arguments)))  # type: ignore[misc]
        except LovageError as error:
            yield from placement.recover(error, number)
    raise AssertionError


class Sessions:
    """Opens sessions."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def open(self, model: str, **options: Any) -> DirectSession:
        """`options` as those of `Options`: device, memory_bytes, task, affinity, records, tls, fallback. A
        worker is looked for by the first call."""
        return DirectSession(self._client, Options(model, **options))


class DirectSession:
    """One model. A worker that dies is replaced, a token that ends is renewed; where no worker takes calls
    (or grpcio is not installed) `run`, `predict` and `stream` go over HTTP. For one thread at a time."""

    def __init__(self, client: Client, options: Options) -> None:
        self._client, self._placement = client, Placement(options)
        self._worker: Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The channel."""
        if self._worker:
            self._worker.close()
        self._placement.leave(exclude=False)

    @property
    def worker(self) -> str | None:
        """Who was called last; None: HTTP, or nobody yet."""
        return self._placement.info.worker if self._placement.info else None

    def run(self, values: Mapping[str, Any], seconds: float = 0.0) -> Any:
        """The output. Raises PredictionFailed."""
        return self.predict(values, seconds).require_success().output

    def predict(self, values: Mapping[str, Any], seconds: float = 0.0) -> Prediction:
        """Runs the model; answers when the prediction has ended, however it has."""
        direct: Prediction | None = self._call("predict", values, seconds)
        if direct is not None:
            return direct
        return self._client.predict(self._placement.options.model, values, **fields_of(seconds))

    def stream(self, values: Mapping[str, Any], seconds: float = 0.0) -> Generator[Event, None, None]:
        """Every event. When the worker dies meanwhile, `restart` says that the output begins anew,
        elsewhere."""
        count = 0
        for number in range(1, TRIES + 1):
            begun = count
            try:
                with closing(self._events(values, seconds)) as events:
                    for event in events:
                        count += 1
                        yield replace(event, number=count)
                return
            except LovageError as error:
                self._carry_out(self._placement.recover(error, number))
            if count > begun:
                count += 1
                yield Event(count, "restart")

    def infer(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """The outputs by name (ModelInfer). Raises Refused where no worker takes direct calls."""
        outputs: dict[str, Tensor] = require_direct(self._call("infer", inputs))
        return outputs

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Scores of pairs (query, text), by a cross-encoder. Raises Refused where no worker takes direct
        calls."""
        scores: list[float] = require_direct(self._call("score", pairs))
        return scores

    def cancel(self, prediction_id: str) -> bool:
        """Stops an own prediction; False: it is not there, or has ended."""
        if self._worker and self._worker.cancel(prediction_id):
            return True
        try:
            return not self._client.cancel(prediction_id).has_ended
        except Refused:
            return False

    def _events(self, values: Mapping[str, Any], seconds: float) -> Generator[Event, None, None]:
        worker: Worker | None = self._carry_out(self._placement.place(Connect))
        if worker is not None:
            return worker.stream(values, seconds)
        return self._client.stream(self._placement.options.model, values, **fields_of(seconds))

    def _call(self, name: str, *arguments: Any) -> Any:
        return self._carry_out(call_worker(self._placement, name, arguments))

    def _carry_out(self, flow: Flow[Any]) -> Any:
        return self._client.carry_out(flow, self._do)

    def _do(self, step: Connect | Invoke) -> Any:
        if isinstance(step, Invoke):
            return step.call()
        if self._worker:
            self._worker.close()
            self._worker = None
        try:
            from lovage.worker import Worker
        except ImportError:  # grpcio is an extra: pip install 'lovage[grpc]'
            return None
        self._worker = Worker(step.info, step.tls)
        return self._worker


def fields_of(seconds: float) -> dict[str, Any]:
    """Of a prediction over HTTP."""
    return {"timeout": seconds} if seconds else {}


def require_direct(answer: Any) -> Any:
    """A worker's. Raises Refused where there was none."""
    if answer is None:
        raise Refused(ONLY_DIRECT, code="unavailable")
    return answer
