"""Another Lovage: any of its models, with its own inputs, outputs and progress. A cancel here is one
there."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from app.backends.base import BackendCall, JsonObject
from app.backends.http_kind import CHECK_SECONDS, HttpKind
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import ServedModel
from app.domain.work import Chunk, Event, Finished

PREDICTION = "prediction"
MOST_PAGES = 10  # of 100 models
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.05, 1.0
CANCEL_SECONDS = 5.0
KEPT_METRICS = ("prompt_tokens", "output_tokens", "input_tokens", "finish_reason")


class LovageServer(HttpKind):
    """Its address is the API's; the credential an API key of it, with the scope `predict`."""

    tasks: ClassVar[tuple[str, ...]] = (PREDICTION,)

    async def check(self) -> None:
        await self.ask("GET", self.url("/health"), silence=CHECK_SECONDS)

    async def list_models(self) -> Sequence[ServedModel]:
        path, served = "/v1/models?limit=100", list[ServedModel]()
        for _ in range(MOST_PAGES):
            page = await self.ask_object("GET", self.url(path), silence=CHECK_SECONDS)
            models = [each for each in page.get("results") or () if each.get("latest_version")]
            served += [await self._served(model) for model in models]
            if not page.get("next"):
                break
            path = f"/v1/models?{urlsplit(page['next']).query}"
        return served

    async def _served(self, model: Mapping[str, Any]) -> ServedModel:
        name = f"{model['owner']}/{model['name']}"
        shown = await self.ask_object("GET", self.url(f"/v1/models/{quote(name)}"), silence=CHECK_SECONDS)
        schemas = shown["latest_version"]["openapi_schema"]["components"]["schemas"]
        streams = schemas["Output"].get("x-cog-array-type") == "iterator"
        return ServedModel(
            name,
            PREDICTION,
            inputs=own_inputs(schemas),
            outputs={key: value for key, value in schemas["Output"].items() if key != "title"},
            streams=streams,
        )

    async def run(self, call: BackendCall) -> AsyncIterator[Event]:
        """Followed by looking: a look brings all that has come since the one before."""
        body = {"version": call.model, "input": call.input}
        prediction = await self.ask_object("POST", self.url("/v1/predictions"), body)
        path = f"/v1/predictions/{quote(str(prediction.get('id')))}"
        shown, pause = 0, FIRST_LOOK_SECONDS
        try:
            while not prediction.get("completed_at"):
                await asyncio.sleep(pause)
                prediction = await self.ask_object("GET", self.url(path))
                pieces = prediction.get("output")
                if isinstance(pieces, list) and _streams(prediction) and len(pieces) > shown:
                    for piece in pieces[shown:]:
                        yield Chunk(piece)
                    shown, pause = len(pieces), FIRST_LOOK_SECONDS
                pause = min(LONGEST_LOOK_SECONDS, pause * 1.3)
        except (asyncio.CancelledError, GeneratorExit):
            await asyncio.shield(self._cancel(path))
            raise
        for event in end_of(prediction, shown):
            yield event

    async def _cancel(self, path: str) -> None:
        with suppress(UpstreamFailed):
            await self.ask("POST", self.url(f"{path}/cancel"), {}, CANCEL_SECONDS)


def _streams(prediction: Mapping[str, Any]) -> bool:
    return bool((prediction.get("urls") or {}).get("stream"))


def end_of(prediction: Mapping[str, Any], shown: int) -> list[Event]:
    """What is still to be passed on of a prediction that has ended there. Raises UpstreamFailed when it
    failed."""
    status, error = prediction.get("status"), str(prediction.get("error") or "")
    if status != "succeeded":
        fault = Fault.MODEL if status == "failed" else Fault.BACKEND
        raise UpstreamFailed(f"ended the prediction as {status}: {error[:300]}", fault)
    output, metrics = prediction.get("output"), prediction.get("metrics") or {}
    kept = {name: metrics[name] for name in KEPT_METRICS if name in metrics}
    is_streamed = isinstance(output, list) and _streams(prediction)
    chunks: list[Event] = [Chunk(piece) for piece in output[shown:]] if is_streamed and output else []
    return [*chunks, Finished(output, kept)]


def own_inputs(schemas: Mapping[str, Any]) -> JsonObject:
    """Its input schema with choices in their places; files are passed on by their addresses."""
    properties = {
        name: _own_input(schema, schemas) for name, schema in schemas["Input"].get("properties", {}).items()
    }
    return {**schemas["Input"], "properties": properties}


def _own_input(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> JsonObject:
    own = {name: value for name, value in schema.items() if name not in ("allOf", "format")}
    for part in schema.get("allOf") or ():
        referred = schemas.get(str(part.get("$ref", "")).rpartition("/")[2]) or {}
        own |= {name: value for name, value in referred.items() if name in ("type", "enum")}
    if isinstance(own.get("items"), dict):
        own["items"] = _own_input(own["items"], schemas)
    return own
