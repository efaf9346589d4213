"""`client.sessions` of AsyncClient: the methods of lovage/sessions.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from lovage.errors import LovageError, Refused
from lovage.flow import Flow
from lovage.placement import TRIES, Options, Placement
from lovage.sessions import Connect, Invoke, call_worker, fields_of, require_direct
from lovage.tensors import Tensor
from lovage.values import Event, Prediction

if TYPE_CHECKING:
    from lovage.async_client import AsyncClient
    from lovage.async_worker import AsyncWorker


class AsyncSessions:
    """As Sessions."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def open(self, model: str, **options: Any) -> AsyncDirectSession:
        """As Sessions'."""
        return AsyncDirectSession(self._client, Options(model, **options))


class AsyncDirectSession:
    """As DirectSession, for one task at a time."""

    def __init__(self, client: AsyncClient, options: Options) -> None:
        self._client, self._placement = client, Placement(options)
        self._worker: AsyncWorker | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """The channel."""
        if self._worker:
            await self._worker.close()
        self._placement.leave(exclude=False)

    @property
    def worker(self) -> str | None:
        """As DirectSession's."""
        return self._placement.info.worker if self._placement.info else None

    async def run(self, values: Mapping[str, Any], seconds: float = 0.0) -> Any:
        """As DirectSession's."""
        return (await self.predict(values, seconds)).require_success().output

    async def predict(self, values: Mapping[str, Any], seconds: float = 0.0) -> Prediction:
        """As DirectSession's."""
        direct: Prediction | None = await self._call("predict", values, seconds)
        if direct is not None:
            return direct
        return await self._client.predict(self._placement.options.model, values, **fields_of(seconds))

    async def stream(self, values: Mapping[str, Any], seconds: float = 0.0) -> AsyncGenerator[Event, None]:
        """As DirectSession's."""
        count = 0
        for number in range(1, TRIES + 1):
            begun = count
            try:
                async with aclosing(await self._events(values, seconds)) as events:
                    async for event in events:
                        count += 1
                        yield replace(event, number=count)
                return
            except LovageError as error:
                await self._carry_out(self._placement.recover(error, number))
            if count > begun:
                count += 1
                yield Event(count, "restart")

    async def infer(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """As DirectSession's."""
        outputs: dict[str, Tensor] = require_direct(await self._call("infer", inputs))
        return outputs

    async def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """As DirectSession's."""
        scores: list[float] = require_direct(await self._call("score", pairs))
        return scores

    async def cancel(self, prediction_id: str) -> bool:
        """As DirectSession's."""
        if self._worker and await self._worker.cancel(prediction_id):
            return True
        try:
            return not (await self._client.cancel(prediction_id)).has_ended
        except Refused:
            return False

    async def _events(self, values: Mapping[str, Any], seconds: float) -> Any:
        worker = await self._carry_out(self._placement.place(Connect))
        if worker is not None:
            return worker.stream(values, seconds)
        return self._client.stream(self._placement.options.model, values, **fields_of(seconds))

    async def _call(self, name: str, *arguments: Any) -> Any:
        return await self._carry_out(call_worker(self._placement, name, arguments))

    async def _carry_out(self, flow: Flow[Any]) -> Any:
        return await self._client.carry_out(flow, self._do)

    async def _do(self, step: Connect | Invoke) -> Any:
        if isinstance(step, Invoke):
            return await step.call()
        if self._worker:
            await self._worker.close()
            self._worker = None
        try:
            from lovage.async_worker import AsyncWorker
            from lovage.worker_channel import credentials_of
        except ImportError:  # grpcio is an extra: pip install 'lovage[grpc]'
            return None
        # It reads files, and a certificate from the network.
        credentials = await asyncio.to_thread(credentials_of, step.info, step.tls)
        self._worker = AsyncWorker(step.info, credentials)
        return self._worker
