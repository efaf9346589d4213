"""The client for threads: predictions, models, keys, files, webhooks, sessions with a worker.

client = Client()  # LOVAGE_URL, LOVAGE_TOKEN
print(client.run("demo/minilm", {"text": "hello"}))
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from typing import Any, Self, TypeVar

import httpx

from lovage import predictions
from lovage.connection import as_answer, fields_of, http_options, stream_request, unreachable
from lovage.errors import LovageError, Unreachable
from lovage.files import Files
from lovage.flow import TRIES, Flow, Pause, Request, Step, send
from lovage.keys import Keys
from lovage.models import Models
from lovage.progress import ignore, progress_bar
from lovage.sessions import Sessions
from lovage.streams import StreamReader
from lovage.values import Event, Prediction
from lovage.webhooks import Webhooks

T = TypeVar("T")


class Client:
    """May be used by many threads. `url` goes before LOVAGE_URL, `token` (an API key) before LOVAGE_TOKEN."""

    def __init__(
        self,
        url: str = "",
        token: str = "",
        *,
        timeout: float = 60.0,
        verify: Any = True,
        tries: int = TRIES,
    ) -> None:
        """`verify`: as httpx's, for an API with a certificate of its own authority (an ssl.SSLContext).
        `tries`: of a call that may be sent twice, 10 at most."""
        self._tries = tries
        self._http = httpx.Client(**http_options(url, token, timeout), verify=verify)
        self.models, self.keys, self.files = Models(self), Keys(self), Files(self)
        self.webhooks, self.sessions = Webhooks(self), Sessions(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Its connections."""
        self._http.close()

    def run(self, model: str, values: Mapping[str, Any], **fields: Any) -> Any:
        """The output. `fields`: of the request's body (timeout, priority, webhook, …); `strict=True`: a
        misspelt input is an error. Raises PredictionFailed."""
        return self.predict(model, values, **fields).require_success().output

    def predict(self, model: str, values: Mapping[str, Any], **fields: Any) -> Prediction:
        """Makes a prediction and waits for its end, whatever that is."""
        return self.carry_out(predictions.predict(model, values, **fields))

    def create(self, model: str, values: Mapping[str, Any], **fields: Any) -> Prediction:
        """Makes a prediction; answers at once."""
        return self.carry_out(predictions.begin(model, values, **fields))

    def get(self, prediction_id: str) -> Prediction:
        """A prediction as it is now."""
        return self.carry_out(predictions.get(prediction_id))

    def wait(self, prediction: Prediction) -> Prediction:
        """It, when it has ended."""
        return self.carry_out(predictions.finish(prediction))

    def cancel(self, prediction_id: str) -> Prediction:
        """Stops it; one that has ended is answered as it is."""
        return self.carry_out(predictions.cancel(prediction_id))

    def predictions(self, **filters: Any) -> Iterator[Prediction]:
        """Yours, newest first. `filters`: status, model, since, … as GET /v1/predictions has them."""
        return map(Prediction.from_json, self.pages("/v1/predictions", filters))

    def stream(self, model: str, values: Mapping[str, Any], **fields: Any) -> Generator[Event, None, None]:
        """Its pieces as they come, over broken connections; the last event is `done`, with the prediction.
        Raises Refused for a model that does not stream."""
        yield from self.follow(self.create(model, values, **fields))

    def follow(self, prediction: Prediction) -> Generator[Event, None, None]:
        """The events of a prediction that there is, as `stream` has them."""
        reader = StreamReader(prediction)
        while not reader.is_over:
            error: LovageError | None = None
            try:
                yield from self._read_stream(reader)
            except Unreachable as broken:
                error = broken
            if not reader.is_over:
                time.sleep(reader.broke(error))
        yield reader.number(Event(0, "done", prediction=self.wait(self.get(prediction.id))))

    def _read_stream(self, reader: StreamReader) -> Generator[Event, None, None]:
        try:
            with closing(self._http.send(stream_request(self._http, reader), stream=True)) as answer:
                if answer.status_code >= 400:
                    reader.check(answer.status_code, answer.headers, answer.read().decode("utf-8", "replace"))
                for line in answer.iter_lines():
                    if event := reader.feed(line):
                        yield event
                    if reader.is_over:
                        return
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None

    def batch(
        self,
        model: str,
        inputs: Iterable[Mapping[str, Any]],
        *,
        at_once: int = 16,
        progress: bool = False,
        **fields: Any,
    ) -> list[Prediction]:
        """One prediction for each input, in the inputs' order, so many at once; failed ones are among them.
        `progress`: a bar on standard error."""
        todo = list(inputs)
        with (
            progress_bar(model, len(todo)) if progress else nullcontext(ignore) as advance,
            ThreadPoolExecutor(max(1, at_once)) as threads,
        ):

            def predict_one(values: Mapping[str, Any]) -> Prediction:
                prediction = self.predict(model, values, **fields)
                advance(1)
                return prediction

            return list(threads.map(predict_one, todo))

    def request(self, method: str, path: str, **fields: Any) -> Any:
        """The JSON of any operation's answer (openapi.json); `fields` as Request's."""
        return self.carry_out(send(Request(method, path, **fields)))

    def pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The results of a list, page after page."""
        values: Mapping[str, Any] | None = params
        while True:
            page = self.request("GET", path, params=values)
            yield from page["results"]
            if not page["next"]:
                return
            values = dict(httpx.URL(page["next"]).params.multi_items())

    def carry_out(self, flow: Flow[T], do: Callable[[Any], Any] | None = None) -> T:
        """A flow's outcome; `do` carries out steps that are of its own kind."""
        try:
            step = next(flow)
            while True:
                try:
                    outcome = self._carry_out(step) if isinstance(step, Step) else do and do(step)
                except LovageError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            value: T = end.value
            return value

    def _carry_out(self, step: Request | Pause) -> Any:
        if isinstance(step, Pause):
            if step.error and step.number >= self._tries:
                raise step.error
            return time.sleep(step.seconds)
        try:
            return as_answer(self._http.request(**fields_of(step)))
        except httpx.TransportError as error:
            raise unreachable(self._http.base_url, error) from None
