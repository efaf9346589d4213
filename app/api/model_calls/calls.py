"""What all routes that run a model do: find the model, create predictions, wait for their ends, cancel them
when the caller leaves."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fastapi import Request

from app.api.access_log import PREDICTIONS, TRACEPARENT
from app.api.bodies import body_size, release_body
from app.api.deps import Services, caller_of, count_calls, services_of
from app.api.model_calls.edge_route import IGNORED
from app.api.model_calls.failures import NoModel, RunFailed, failure_of, refused
from app.domain.errors import InvalidRequest, NotFound
from app.domain.predictions import Prediction, Status
from app.domain.versions import RunnableVersion
from app.services.people.access import Principal
from app.services.predictions.submit import Submission

Answer = TypeVar("Answer")
SOURCE = "openai"
CLIENT_GONE = 499  # what proxies write for a caller that left; nobody reads it


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller may run `version`."""

    request: Request
    services: Services
    caller: Principal
    version: RunnableVersion
    ignored: list[str]  # fields of the request that change nothing here

    def inputs(self) -> dict[str, Any]:
        """The model's own input properties, by name."""
        properties: dict[str, Any] = self.version.input_schema.get("properties", {})
        return properties

    def takes(self, name: str) -> bool:
        """Whether the model has an input of this name or alias."""
        inputs = self.inputs()
        return name in inputs or any(name in schema.get("x-aliases", ()) for schema in inputs.values())

    async def predict(
        self, inputs: Sequence[dict[str, Any]], response: Mapping[str, Any] | None = None
    ) -> list[Prediction]:
        """One prediction for each input: all of them, or none and what refused the first that was refused.
        They count as so many creations. `response` is kept in the record, to show a response by."""
        if len(inputs) > 1:  # one was counted when the call came
            count_calls(self.request, self.caller, "creates", len(inputs) - 1)
        shared = Submission(
            user_id=self.caller.user_id,
            version=self.version,
            input={},
            source=SOURCE,
            response=response,
            request_id=self.request.scope["request_id"],
            traceparent=self.request.scope.get(TRACEPARENT),
            size=body_size(self.request),
        )
        submissions = [replace(shared, input=values) for values in inputs]
        outcomes = await self.services.submitter.submit_all(submissions)
        predictions = [outcome for outcome in outcomes if isinstance(outcome, Prediction)]
        self.request.scope[PREDICTIONS] = tuple(prediction.id for prediction in predictions)
        if error := next((outcome for outcome in outcomes if isinstance(outcome, BaseException)), None):
            self.cancel(predictions)
            raise error
        release_body(self.request)
        return predictions

    def cancel(self, predictions: Sequence[Prediction]) -> None:
        """Returns at once; those that have ended stay as they are."""
        self.services.disconnects.cancel_abandoned([prediction.id for prediction in predictions])


async def open_call(request: Request, model: str) -> Call:
    """Who calls and what is to run. Raises Unauthenticated, Forbidden, NoModel."""
    services, caller = services_of(request), await caller_of(request)
    caller.need("predict")
    try:
        version = await services.model_names.runnable(caller, model)
    except (NotFound, InvalidRequest) as error:
        reason = f" {error.detail}" if "Several" in error.detail else ""
        raise NoModel(
            f"The model `{model[:200]}` does not exist or you do not have access to it.{reason}"
        ) from None
    ignored: list[str] = []
    request.scope[IGNORED] = ignored
    return Call(request, services, caller, version, ignored)


def require_input(call: Call, *names: str) -> None:
    """Raises InvalidRequest unless the model takes one of these inputs."""
    if not any(name in call.inputs() for name in names):
        raise refused("model", f"{call.version.model} cannot be used here: it takes no `{names[0]}`")


async def wait_for_all(request: Request, call: Call, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions when all have succeeded. Raises RunFailed; cancels them when the caller leaves."""
    try:
        ended = await unless_left(request, asyncio.ensure_future(_ends(call, predictions)))
    except BaseException:  # the predictions are canceled, then it is raised on
        call.cancel(predictions)
        raise
    if failed := next((each for each in ended if each.status is not Status.SUCCEEDED), None):
        call.cancel(predictions)
        raise failure_of(failed)
    return ended


async def _ends(call: Call, predictions: Sequence[Prediction]) -> list[Prediction]:
    """In a task of its own: a gather that is cancelled from outside logs that its exception was never
    retrieved."""
    follower = call.services.follower
    ended = await asyncio.gather(*(follower.end_of(prediction) for prediction in predictions))
    return [await follower.load(prediction) for prediction in ended]


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def unless_left(request: Request, work: "asyncio.Future[Answer]") -> Answer:
    """The result of `work`. Raises RunFailed when the caller leaves before; then the work is cancelled."""
    gone: asyncio.Future[None] = asyncio.ensure_future(_left(request))
    either: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise RunFailed(CLIENT_GONE, "The caller left.", None)
        return work.result()
    finally:
        gone.cancel()
        work.cancel()
