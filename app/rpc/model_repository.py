"""What models there are for a caller, how they are described, and loading them on this worker."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from app.domain import routing
from app.domain.errors import ModelUnhealthy, Unavailable
from app.domain.routing import WorkerFacts
from app.domain.tensor_signature import describe_inputs, describe_outputs
from app.domain.versions import Placement, RunnableVersion, Version
from app.rpc.stubs import inference_pb2 as messages
from app.services.catalogue.catalogue import Catalogue
from app.services.catalogue.model_versions import ModelVersions
from app.services.people.access import Principal
from app.worker.model_preload import ModelPreloader
from app.worker.work_engine import WorkEngine

Answer = TypeVar("Answer")
POLL_SECONDS = 0.05
MOST_MODELS = 1_000
READY = "ready"
TROUBLED = ("unhealthy", "failed")


class ModelRepository:
    """One for each server, on its loop."""

    def __init__(
        self,
        catalogue: Catalogue,
        versions: ModelVersions,
        engine: WorkEngine,
        preloader: ModelPreloader,
        worker: WorkerFacts,
        threads: Executor,
    ) -> None:
        self._catalogue, self._versions = catalogue, versions
        self._engine, self._preloader = engine, preloader
        self._worker, self._threads = worker, threads

    async def _off_loop(self, call: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def can_run(self, version: RunnableVersion) -> bool:
        """Whether it is ready here, or would be loaded by the next call."""
        is_able = routing.is_able(Placement.from_config(version.config), self._worker)
        return is_able and self._engine.states().get(version.id) not in TROUBLED

    async def describe(
        self, caller: Principal, name: str, version: RunnableVersion
    ) -> messages.ModelMetadataResponse:
        """Its tensors, by its schemas."""
        described = await self._off_loop(lambda: self._version_of(caller, version))
        answer = messages.ModelMetadataResponse(
            name=name, versions=[described.id], platform=f"lovage_{described.runtime}"
        )
        for tensor in describe_inputs(described.input_schema):
            answer.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        for tensor in describe_outputs(described.output_schema, streams=described.streams):
            answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        return answer

    def _version_of(self, caller: Principal, version: RunnableVersion) -> Version:
        owner, _, name = version.model.partition("/")
        return self._versions.get(caller, owner, name, version.id)

    async def index(self, caller: Principal, *, ready_only: bool) -> messages.RepositoryIndexResponse:
        """The models that the caller may see, newest first; READY are those that this worker has loaded."""
        listed = await self._off_loop(lambda: self._list(caller))
        states, answer = self._engine.states(), messages.RepositoryIndexResponse()
        for name, version in listed:
            state = states.get(version, "unloaded")
            if state == READY or not ready_only:
                is_ready = state == READY
                shown = "READY" if is_ready else "UNAVAILABLE"
                answer.models.add(name=name, version=version, state=shown, reason="" if is_ready else state)
        return answer

    def _list(self, caller: Principal) -> list[tuple[str, str]]:
        listed: list[tuple[str, str]] = []
        cursor: str | None = None
        while len(listed) < MOST_MODELS:
            page = self._catalogue.page(caller, cursor=cursor)
            listed += [(each.model.full_name, each.latest.id) for each in page.results if each.latest]
            if (cursor := page.next) is None:
                break
        return listed

    async def load(self, caller: Principal, version: RunnableVersion) -> None:
        """Returns when it is ready. Raises Forbidden, Unavailable, ModelUnhealthy."""
        await self._require_own(caller, version)
        if not routing.is_able(Placement.from_config(version.config), self._worker):
            raise Unavailable("This worker's device cannot run this model.")
        self._preloader.load(version.id)
        began = time.monotonic()
        while not self._engine.is_ready(version.id):
            await asyncio.sleep(POLL_SECONDS)  # the call's deadline ends it
            state = self._engine.states().get(version.id)
            if state in TROUBLED and time.monotonic() - began > 1:
                raise ModelUnhealthy(f"The model could not be loaded: it is {state}.", retry_after=5)

    async def unload(self, caller: Principal, version: RunnableVersion) -> None:
        """Returns at once. Raises Forbidden."""
        await self._require_own(caller, version)
        self._engine.release(version.id)

    async def _require_own(self, caller: Principal, version: RunnableVersion) -> None:
        caller.need("models")
        owner, _, name = version.model.partition("/")
        await self._off_loop(lambda: self._versions.get_own(caller, owner, name, version.id))
