"""`inference.GRPCInferenceService`: the Open Inference Protocol, with Triton's streams and repository, as
Triton's clients call it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from app import __version__
from app.domain.errors import LovageError, Unauthenticated, wrong_field
from app.domain.raw_tensors import RawTensor, RawTensors, as_recorded
from app.domain.tensor_signature import GRAPH, choose_names, input_from, takes_graph, tensors_from
from app.domain.tensors import Tensor, WrongTensor
from app.domain.versions import RunnableVersion
from app.domain.work import Chunk
from app.rpc.direct_calls import DirectCalls, seconds_until
from app.rpc.direct_run import DirectRun
from app.rpc.errors import Context, abort, answering, sentence_of
from app.rpc.model_repository import ModelRepository
from app.rpc.stubs import inference_pb2 as messages
from app.rpc.tensor_messages import encode_response, read_parameters, read_tensors, write_tensors
from app.services.people.access import Principal

NAME = "inference.GRPCInferenceService"
LARGE = 100_000  # bytes; conversions of more are made beside the loop
EXTENSIONS = ("model_repository", "model_repository(unload_dependents)")
# Parameters of Triton's clients, and the values that change nothing.
WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "sequence_id": (0, ""),
    "sequence_start": (False,),
    "sequence_end": (False,),
    "priority": (0,),
    "binary_data_output": (True,),
}
EMPTY_FINAL = "triton_enable_empty_final_response"
FINAL = "triton_final_response"


class InferenceService:
    """One for each server."""

    def __init__(self, calls: DirectCalls, repository: ModelRepository) -> None:
        self._calls, self._repository = calls, repository

    def handlers(self) -> grpc.GenericRpcHandler:
        """All its methods."""
        unary = {
            "ServerLive": (self.server_live, messages.ServerLiveRequest),
            "ServerReady": (self.server_ready, messages.ServerReadyRequest),
            "ServerMetadata": (self.server_metadata, messages.ServerMetadataRequest),
            "ModelReady": (self.model_ready, messages.ModelReadyRequest),
            "ModelMetadata": (self.model_metadata, messages.ModelMetadataRequest),
            "ModelInfer": (self.model_infer, messages.ModelInferRequest),
            "RepositoryIndex": (self.repository_index, messages.RepositoryIndexRequest),
            "RepositoryModelLoad": (self.repository_model_load, messages.RepositoryModelLoadRequest),
            "RepositoryModelUnload": (self.repository_model_unload, messages.RepositoryModelUnloadRequest),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                answering(method),
                request.FromString,
                _serialize,
            )
            for name, (method, request) in unary.items()
        }
        methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self.model_stream_infer, messages.ModelInferRequest.FromString, _serialize
        )
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def server_live(self, _: Any, __: Context) -> messages.ServerLiveResponse:
        """It answers."""
        return messages.ServerLiveResponse(live=True)

    async def server_ready(self, _: Any, __: Context) -> messages.ServerReadyResponse:
        """Whether it takes calls."""
        return messages.ServerReadyResponse(ready=not self._calls.draining)

    async def server_metadata(self, _: Any, __: Context) -> messages.ServerMetadataResponse:
        """What serves."""
        return messages.ServerMetadataResponse(name="lovage", version=__version__, extensions=EXTENSIONS)

    async def model_ready(self, request: Any, context: Context) -> messages.ModelReadyResponse:
        """Whether the worker has the model, or would load it when it is called."""
        caller = await self._calls.caller(context)
        version = await self._calls.version(caller, request.name, request.version)
        return messages.ModelReadyResponse(ready=self._repository.can_run(version))

    async def model_metadata(self, request: Any, context: Context) -> messages.ModelMetadataResponse:
        """The model's tensors."""
        caller = await self._calls.caller(context)
        version = await self._calls.version(caller, request.name, request.version)
        return await self._repository.describe(caller, request.name, version)

    async def model_infer(self, request: Any, context: Context) -> bytes:
        """One prediction, answered when its end is recorded: a ModelInferResponse, serialized."""
        caller = await self._calls.caller(context)
        version, run = await self._start(caller, request, wants_events=False)
        output = await self._calls.finish(run)

        def encode() -> bytes:
            tensors = _tensors_of(request, version, run, output)
            return encode_response(_message_of(request, version, run), tensors)

        answer: bytes = await _beside(run.prediction.input_bytes or 0, encode)
        return answer

    async def model_stream_infer(
        self, requests: AsyncIterator[messages.ModelInferRequest], context: Context
    ) -> AsyncIterator[messages.ModelStreamInferResponse]:
        """Requests are run side by side, each answered in pieces as it goes, or by an error that leaves the
        stream open."""
        answers: asyncio.Queue[messages.ModelStreamInferResponse | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read_stream(requests, context, answers))
        try:
            until = await self._calls.expiry(context)
            while (answer := await asyncio.wait_for(answers.get(), seconds_until(until))) is not None:
                yield answer
        except TimeoutError:
            await abort(context, Unauthenticated("The session has expired. Ask for another one."))
        except LovageError as error:
            await abort(context, error)
        finally:
            reading.cancel()

    async def _read_stream(
        self,
        requests: AsyncIterator[messages.ModelInferRequest],
        context: Context,
        answers: "asyncio.Queue[messages.ModelStreamInferResponse | None]",
    ) -> None:
        """Puts None when the last request is answered. Canceling it cancels all that run."""
        try:
            async with asyncio.TaskGroup() as group:
                async for request in requests:
                    group.create_task(self._answer_streamed(request, context, answers))
        finally:
            answers.put_nowait(None)

    async def _answer_streamed(
        self,
        request: messages.ModelInferRequest,
        context: Context,
        answers: "asyncio.Queue[messages.ModelStreamInferResponse | None]",
    ) -> None:
        try:
            caller = await self._calls.caller(context)
            version, run = await self._start(caller, request, wants_events=True)
            async for response in self._responses(request, version, run):
                answers.put_nowait(messages.ModelStreamInferResponse(infer_response=response))
        except (LovageError, WrongTensor) as error:
            failed = messages.ModelInferResponse(id=request.id, model_name=request.model_name)
            answers.put_nowait(
                messages.ModelStreamInferResponse(error_message=sentence_of(error), infer_response=failed)
            )

    async def _responses(
        self, request: messages.ModelInferRequest, version: RunnableVersion, run: DirectRun
    ) -> AsyncIterator[messages.ModelInferResponse]:
        """A piece for each chunk; a model that does not stream answers once. The last says so."""
        sent = 0
        try:
            async for event in run.events():
                if isinstance(event, Chunk) and not run.has_files:
                    sent += 1
                    piece = _message_of(request, version, run)
                    write_tensors(piece, _tensors_of(request, version, run, [event.data]))
                    yield piece
        except (asyncio.CancelledError, GeneratorExit):
            self._calls.cancel(run)
            raise
        output = await self._calls.finish(run)
        if not sent:
            last = await self._answer(request, version, run, output)
        elif read_parameters(request.parameters).get(EMPTY_FINAL):
            last = _message_of(request, version, run)
        else:
            return
        last.parameters[FINAL].bool_param = True
        yield last

    async def _start(
        self, caller: Principal, request: messages.ModelInferRequest, *, wants_events: bool
    ) -> tuple[RunnableVersion, DirectRun]:
        version = await self._calls.version(caller, request.model_name, request.model_version)
        size = request.ByteSize()
        values, tensors, seconds = await _beside(size, lambda: _values_of(request, version))
        run = await self._calls.open(
            caller, version, values, size=size, seconds=seconds, wants_events=wants_events, tensors=tensors
        )
        return version, run

    async def _answer(
        self, request: messages.ModelInferRequest, version: RunnableVersion, run: DirectRun, output: Any
    ) -> messages.ModelInferResponse:
        response = _message_of(request, version, run)
        size = run.prediction.input_bytes or 0
        await _beside(size, lambda: write_tensors(response, _tensors_of(request, version, run, output)))
        return response

    async def repository_index(self, request: Any, context: Context) -> messages.RepositoryIndexResponse:
        """The models that the caller may see."""
        caller = await self._calls.caller(context)
        _require_one_repository(request.repository_name)
        return await self._repository.index(caller, ready_only=request.ready)

    async def repository_model_load(
        self, request: Any, context: Context
    ) -> messages.RepositoryModelLoadResponse:
        """Loads a model on this worker; answers when it is ready."""
        caller = await self._calls.caller(context)
        version = await self._command(caller, request)
        await self._repository.load(caller, version)
        return messages.RepositoryModelLoadResponse()

    async def repository_model_unload(
        self, request: Any, context: Context
    ) -> messages.RepositoryModelUnloadResponse:
        """Unloads it from this worker, once nothing of it runs or waits."""
        caller = await self._calls.caller(context)
        version = await self._command(caller, request)
        await self._repository.unload(caller, version)
        return messages.RepositoryModelUnloadResponse()

    async def _command(self, caller: Principal, request: Any) -> RunnableVersion:
        _require_one_repository(request.repository_name)
        for name, value in read_parameters(request.parameters).items():
            if name != "unload_dependents" or value:
                raise wrong_field(f"parameters.{name[:100]}", "is not supported: register a version instead")
        return await self._calls.version(caller, request.model_name, "")


def _message_of(
    request: messages.ModelInferRequest, version: RunnableVersion, run: DirectRun
) -> messages.ModelInferResponse:
    """Without tensors."""
    response = messages.ModelInferResponse(
        model_name=request.model_name, model_version=version.id, id=request.id
    )
    response.parameters["prediction"].string_param = run.prediction.id
    return response


def _tensors_of(
    request: messages.ModelInferRequest, version: RunnableVersion, run: DirectRun, output: Any
) -> dict[str, Tensor | RawTensor]:
    """Those that were asked for, by name. Raises WrongTensor."""
    if output is None:
        return {}
    tensors: dict[str, Tensor | RawTensor] = {**run.output_tensors}
    if output or not tensors:
        tensors |= {each.name: each for each in tensors_from(output, is_text=version.streams)}
    names = choose_names(list(tensors), [wish.name for wish in request.outputs] if tensors else ())
    return {name: tensors[name] for name in names}


def _serialize(message: Any) -> bytes:
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())


def _require_one_repository(name: str) -> None:
    if name:
        raise wrong_field("repository_name", "must be empty: there is one repository")


async def _beside(size: int, call: Any) -> Any:
    """A large conversion would hold up every other call."""
    return call() if size <= LARGE else await asyncio.to_thread(call)


def _values_of(
    request: messages.ModelInferRequest, version: RunnableVersion
) -> tuple[dict[str, Any], RawTensors, float | None]:
    """The model's input as it is recorded, what of it stays bytes, and the timeout in seconds. Raises
    WrongTensor, InvalidRequest."""
    parameters = read_parameters(request.parameters)
    parameters.pop(EMPTY_FINAL, None)
    microseconds = parameters.pop("timeout", 0)
    for name, harmless in WITHOUT_EFFECT.items():
        if name in parameters and parameters.pop(name) not in harmless:
            raise wrong_field(
                f"parameters.{name}", "is not supported: each request is a prediction of its own"
            )
    properties = version.input_schema.get("properties", {})
    known = {alias for field in properties.values() for alias in field.get("x-aliases", ())} | set(properties)
    if unknown := next((name for name in parameters if name not in known), None):
        raise wrong_field(f"parameters.{unknown[:100]}", f"is no input of {version.model}")
    if type(microseconds) is not int or microseconds < 0:
        raise wrong_field("parameters.timeout", "must be microseconds")
    tensors, stay = read_tensors(request, properties if takes_graph(properties) else None)
    values = input_from(version.input_schema, tensors, parameters)
    if stay:
        _put_beside(values.setdefault(GRAPH, {}), stay)
    return values, stay, microseconds / 1e6 or None


def _put_beside(graph: Any, stay: RawTensors) -> None:
    """What is recorded of tensors that stay bytes. Raises WrongTensor."""
    if not isinstance(graph, dict):
        raise WrongTensor(f"{GRAPH}: must be an object")
    if twice := next((name for name in stay if name in graph), None):
        raise WrongTensor(f"{twice[:100]}: is given twice")
    graph.update(as_recorded(stay))
