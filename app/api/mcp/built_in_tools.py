"""The tools that every installation has: what runs here, how it does, which of it would have a prediction,
and running one."""

from dataclasses import asdict
from typing import Annotated, Any

from anyio.to_thread import run_sync
from pydantic import BaseModel, ConfigDict, Field

from app.api.mcp.prediction_runs import run_prediction
from app.api.mcp.tool_calls import BuiltInTool, ToolCall
from app.domain.errors import NotFound, wrong_field
from app.domain.versions import RunnableVersion
from app.services.backends.targets import Target
from app.services.catalogue.tasks import list_runnable, models_by_task, task_of

MOST_CANDIDATES = 20  # models of a task that are looked at
LONGEST_TIMEOUT = 86_400.0


class Strict(BaseModel):
    """What a tool takes: nothing that is not named."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NothingIn(Strict):
    """No arguments."""


class NameIn(Strict):
    """Which one."""

    name: str = Field(max_length=64, description="From list_inference_backends.")


class SelectIn(Strict):
    """Give a model, or a task, or both."""

    task: str = Field("", max_length=64, description="From get_supported_tasks.")
    model: str = Field("", max_length=300, description="owner/name, an alias, or a name without its owner.")
    strategy: str = Field("", max_length=32, description="Instead of the model's own.")


class RunIn(Strict):
    """What to run."""

    model: str = Field(max_length=300, description="owner/name, an alias, or a version's id.")
    input: dict[str, Any] = Field(description="The model's input.")
    timeout: Annotated[
        float | None, Field(gt=0, le=LONGEST_TIMEOUT, description="Longest time of running in seconds.")
    ] = None


class TargetOut(BaseModel):
    """Something that runs predictions. `kind` is device for this platform's own. Latencies in seconds."""

    name: str
    kind: str
    state: str
    running: int
    capacity: int
    workers: int
    reason: str
    tasks: list[str]
    errors: int
    latency_p50: float | None
    latency_p95: float | None


class TargetsOut(BaseModel):
    """`only_devices`: registered backends are shown to administrators."""

    backends: list[TargetOut]
    only_devices: bool


class CandidateOut(BaseModel):
    """`score`: lower is better; null: out of the question now."""

    backend: str
    score: float | None
    reason: str


class SelectionOut(BaseModel):
    """`backend` is empty when none can have it now: then a prediction waits."""

    model: str
    task: str
    backend: str
    strategy: str
    reasons: list[str]
    candidates: list[CandidateOut]


class TaskOut(BaseModel):
    """A task, and the models that are for it."""

    task: str
    models: list[str]


class TasksOut(BaseModel):
    """Of all models that the caller may run."""

    tasks: list[TaskOut]


class PredictionOut(BaseModel):
    """The prediction as GET /v1/predictions/{id} shows it."""

    model_config = ConfigDict(extra="allow")

    id: str
    model: str
    status: str
    output: Any = None
    error: str | None = None
    metrics: dict[str, Any]


async def list_backends(call: ToolCall, _: NothingIn) -> TargetsOut:
    targets = await call.services.backends.targets.list_all(call.caller)
    return TargetsOut(
        backends=[_target_out(each) for each in targets], only_devices=not call.caller.is_operator
    )


async def get_status(call: ToolCall, arguments: NameIn) -> TargetOut:
    return _target_out(await call.services.backends.targets.get(call.caller, arguments.name))


def _target_out(target: Target) -> TargetOut:
    return TargetOut(**{**asdict(target), "tasks": list(target.tasks)})


async def select(call: ToolCall, arguments: SelectIn) -> SelectionOut:
    if not arguments.model and not arguments.task:
        raise wrong_field("model", "give a model or a task")
    names = [arguments.model] if arguments.model else await run_sync(_models_of_task, call, arguments.task)
    if not names:
        raise NotFound(f"You may run no model of the task '{arguments.task}'.")
    selections = [await _select_for(call, name, arguments) for name in names]
    return next((each for each in selections if each.backend), selections[0])


def _models_of_task(call: ToolCall, task: str) -> list[str]:
    runnable = list_runnable(call.services.catalogue, call.caller)
    return [each.model.full_name for each in runnable if task_of(each) == task][:MOST_CANDIDATES]


async def _select_for(call: ToolCall, name: str, arguments: SelectIn) -> SelectionOut:
    version = await call.services.model_names.runnable(call.caller, name)
    chosen = await call.services.backends.targets.choose(call.caller, version, arguments.strategy)
    return SelectionOut(
        model=chosen.model,
        task=arguments.task,
        backend=chosen.target,
        strategy=chosen.strategy,
        reasons=list(chosen.reasons),
        candidates=[
            CandidateOut(backend=each.name, score=each.score, reason=each.reason)
            for each in chosen.candidates
        ],
    )


async def get_tasks(call: ToolCall, _: NothingIn) -> TasksOut:
    by_task = await run_sync(models_by_task, call.services.catalogue, call.caller)
    return TasksOut(tasks=[TaskOut(task=task, models=models) for task, models in by_task.items()])


async def run(call: ToolCall, arguments: RunIn) -> PredictionOut:
    version: RunnableVersion = await call.services.model_names.runnable(call.caller, arguments.model)
    return PredictionOut.model_validate(
        await run_prediction(call, version, arguments.input, arguments.timeout)
    )


RUN = "route_inference_request"
TOOLS = (
    BuiltInTool(
        "list_inference_backends",
        "List what runs predictions",
        "The classes of devices of this platform and, for administrators, the registered backends.",
        NothingIn,
        TargetsOut,
        list_backends,
    ),
    BuiltInTool(
        "get_backend_status",
        "How a backend does",
        "State, load, errors and latency of one of them.",
        NameIn,
        TargetOut,
        get_status,
    ),
    BuiltInTool(
        "select_backend_for_inference",
        "Which backend would have it",
        "Where a prediction with a model, or with a model for a task, would run now, and why.",
        SelectIn,
        SelectionOut,
        select,
    ),
    BuiltInTool(
        RUN,
        "Run a prediction",
        "Runs a model and answers when it has ended. Its output is reported as progress; canceling the call"
        " cancels the prediction.",
        RunIn,
        PredictionOut,
        run,
        only_reads=False,
    ),
    BuiltInTool(
        "get_supported_tasks",
        "List tasks and their models",
        "What the models that you may run are for.",
        NothingIn,
        TasksOut,
        get_tasks,
    ),
)
