"""The client for asyncio, with the methods of lovage/client.py.

async with AsyncClient() as client:
    print(await client.run("demo/minilm", {"text": "hello"}))
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Any, Self, TypeVar

import httpx

from lovage import predictions
from lovage.async_resources import AsyncFiles, AsyncKeys, AsyncModels, AsyncWebhooks
from lovage.async_sessions import AsyncSessions
from lovage.client import Client
from lovage.connection import as_answer, fields_of, http_options, stream_request, unreachable
from lovage.errors import LovageError, Unreachable
from lovage.flow import TRIES, Flow, Pause, Request, Step, send
from lovage.progress import ignore, progress_bar
from lovage.streams import StreamReader
from lovage.values import Event, Prediction

T = TypeVar("T")


class AsyncClient:
    """As Client, for one loop."""

    def __init__(
        self,
        url: str = "",
        token: str = "",
        *,
        timeout: float = 60.0,
        verify: Any = True,
        tries: int = TRIES,
    ) -> None:
        """As Client's."""
        self._tries = tries
        self._http = httpx.AsyncClient(**http_options(url, token, timeout), verify=verify)
        self._make_client: Callable[[], Client] = partial(
            Client, url, token, timeout=timeout, verify=verify, tries=tries
        )
        self.models, self.keys, self.files = AsyncModels(self), AsyncKeys(self), AsyncFiles(self)
        self.webhooks, self.sessions = AsyncWebhooks(self), AsyncSessions(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Its connections."""
        await self._http.aclose()

    async def run(self, model: str, values: Mapping[str, Any], **fields: Any) -> Any:
        """As Client's."""
        return (await self.predict(model, values, **fields)).require_success().output

    async def predict(self, model: str, values: Mapping[str, Any], **fields: Any) -> Prediction:
        """As Client's."""
        return await self.carry_out(predictions.predict(model, values, **fields))

    async def create(self, model: str, values: Mapping[str, Any], **fields: Any) -> Prediction:
        """As Client's."""
        return await self.carry_out(predictions.begin(model, values, **fields))

    async def get(self, prediction_id: str) -> Prediction:
        """As Client's."""
        return await self.carry_out(predictions.get(prediction_id))

    async def wait(self, prediction: Prediction) -> Prediction:
        """As Client's."""
        return await self.carry_out(predictions.finish(prediction))

    async def cancel(self, prediction_id: str) -> Prediction:
        """As Client's."""
        return await self.carry_out(predictions.cancel(prediction_id))

    async def predictions(self, **filters: Any) -> AsyncIterator[Prediction]:
        """As Client's."""
        async for row in self.pages("/v1/predictions", filters):
            yield Prediction.from_json(row)

    async def stream(
        self, model: str, values: Mapping[str, Any], **fields: Any
    ) -> AsyncGenerator[Event, None]:
        """As Client's."""
        async with aclosing(self.follow(await self.create(model, values, **fields))) as events:
            async for event in events:
                yield event

    async def follow(self, prediction: Prediction) -> AsyncGenerator[Event, None]:
        """As Client's."""
        reader = StreamReader(prediction)
        while not reader.is_over:
            error: LovageError | None = None
            try:
                async for event in self._read_stream(reader):
                    yield event
            except Unreachable as broken:
                error = broken
            if not reader.is_over:
                await asyncio.sleep(reader.broke(error))
        yield reader.number(Event(0, "done", prediction=await self.wait(await self.get(prediction.id))))

    async def _read_stream(self, reader: StreamReader) -> AsyncGenerator[Event, None]:
        try:
            answer = await self._http.send(stream_request(self._http, reader), stream=True)
            async with aclosing(answer):
                if answer.status_code >= 400:
                    text = (await answer.aread()).decode("utf-8", "replace")
                    reader.check(answer.status_code, answer.headers, text)
                async for line in answer.aiter_lines():
                    if event := reader.feed(line):
                        yield event
                    if reader.is_over:
                        return
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None

    async def batch(
        self,
        model: str,
        inputs: Iterable[Mapping[str, Any]],
        *,
        at_once: int = 16,
        progress: bool = False,
        **fields: Any,
    ) -> list[Prediction]:
        """As Client's."""
        todo, places = list(inputs), asyncio.Semaphore(max(1, at_once))
        with progress_bar(model, len(todo)) if progress else nullcontext(ignore) as advance:

            async def predict_one(values: Mapping[str, Any]) -> Prediction:
                async with places:
                    prediction = await self.predict(model, values, **fields)
                advance(1)
                return prediction

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(predict_one(values)) for values in todo]
            return [task.result() for task in tasks]

    async def request(self, method: str, path: str, **fields: Any) -> Any:
        """As Client's."""
        return await self.carry_out(send(Request(method, path, **fields)))

    async def pages(
        self, path: str, params: Mapping[str, Any] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """As Client's."""
        values: Mapping[str, Any] | None = params
        while True:
            page = await self.request("GET", path, params=values)
            for result in page["results"]:
                yield result
            if not page["next"]:
                return
            values = dict(httpx.URL(page["next"]).params.multi_items())

    async def in_thread(self, call: Callable[[Client], T]) -> T:
        """What a client for threads does, beside the loop."""

        def run() -> T:
            with self._make_client() as client:
                return call(client)

        return await asyncio.to_thread(run)

    async def carry_out(self, flow: Flow[T], do: Callable[[Any], Awaitable[Any]] | None = None) -> T:
        """As Client's."""
        try:
            step = next(flow)
            while True:
                try:
                    if isinstance(step, Step):
                        outcome = await self._carry_out(step)
                    else:
                        outcome = await do(step) if do else None
                except LovageError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _carry_out(self, step: Request | Pause) -> Any:
        if isinstance(step, Pause):
            if step.error and step.number >= self._tries:
                raise step.error
            return await asyncio.sleep(step.seconds)
        try:
            return as_answer(await self._http.request(**fields_of(step)))
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None
