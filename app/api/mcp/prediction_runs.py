"""Runs a prediction for a tool: progress while it runs, canceled when its caller cancels or leaves."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

from anyio.to_thread import run_sync

from app.api.access_log import PREDICTIONS, TRACEPARENT
from app.api.bodies import body_size, release_body
from app.api.deps import count_calls
from app.api.mcp.tool_calls import ToolCall
from app.domain.predictions import Prediction
from app.domain.versions import RunnableVersion
from app.services.predictions.stream_tail import StreamEvent
from app.services.predictions.submit import Submission

SOURCE = "mcp"
LOOK_SECONDS = 1.0  # between looks at a prediction that does not stream, where progress is wanted
LONGEST_MESSAGE = 8_000  # characters of output in one notification


async def run_prediction(
    call: ToolCall, version: RunnableVersion, values: dict[str, Any], seconds: float | None = None
) -> dict[str, Any]:
    """The prediction as GET shows it, when it has ended. Raises LovageError."""
    count_calls(call.request, call.caller, "creates")
    scope = call.request.scope
    prediction = await call.services.submitter.submit(
        Submission(
            user_id=call.caller.user_id,
            version=version,
            input=values,
            timeout=seconds,
            source=SOURCE,
            idempotency_key=call.key,
            request_id=scope["request_id"],
            traceparent=scope.get(TRACEPARENT),
            size=body_size(call.request),
        )
    )
    release_body(call.request)
    scope[PREDICTIONS] = (*scope.get(PREDICTIONS, ()), prediction.id)
    try:
        ended = await _follow(call, prediction)
    except BaseException:  # it is canceled, then the error is raised on
        call.services.disconnects.cancel_abandoned([prediction.id])
        raise
    return await _show(call, ended)


async def _follow(call: ToolCall, prediction: Prediction) -> Prediction:
    follower = call.services.follower
    if not call.wants_progress:
        return await follower.end_of(prediction)
    await call.report(0, None, "starting")
    follow = _report_pieces if prediction.stream else _report_steps
    await follow(call, prediction)
    return await follower.end_of(await follower.get(prediction.id))


async def _report_pieces(call: ToolCall, prediction: Prediction) -> None:
    """Output as it comes: what was there at once is one notification."""
    count = 0
    async with aclosing(call.services.follower.stream_groups(prediction, base_url=call.base)) as groups:
        async for group in groups:
            if text := _new_text(group):
                count += sum(event.event == "output" for event in group)
                await call.report(max(count, 1), None, text[:LONGEST_MESSAGE])


def _new_text(group: list[StreamEvent]) -> str:
    """What came; `restart` when what came before is void."""
    shown = ("restart\n" if event.event == "restart" else event.data for event in group if _is_shown(event))
    return "".join(shown)


def _is_shown(event: StreamEvent) -> bool:
    return event.event in ("output", "restart")


async def _report_steps(call: ToolCall, prediction: Prediction) -> None:
    """Steps and states, by looking."""
    end = asyncio.ensure_future(call.services.follower.end_of(prediction))
    former = ""
    step = 0.0
    try:
        while not (await asyncio.wait({end}, timeout=LOOK_SECONDS))[0]:
            now = await call.services.follower.glance(prediction.id)
            steps = now.progress or {}
            message = f"{now.shown_status.value} {steps.get('done', '')}".strip()
            if message != former:
                former, step = message, max(step + 0.001, float(steps.get("done") or 0))
                await call.report(step, steps.get("total"), message)
        end.result()
    finally:
        end.cancel()


async def _show(call: ToolCall, prediction: Prediction) -> dict[str, Any]:
    services = call.services
    if not prediction.not_here:
        return services.view.render(prediction, call.base)
    async with services.follower.budget.hold(prediction.size):
        return await run_sync(services.answers.read, prediction, call.base)


def output_text(version: RunnableVersion, output: Any) -> str:
    """An output for a model to read: pieces of text in one, anything else as JSON."""
    if isinstance(output, str):
        return output
    if version.streams and isinstance(output, list) and all(isinstance(each, str) for each in output):
        return "".join(output)
    return json.dumps(output, ensure_ascii=False, separators=(",", ":"))
