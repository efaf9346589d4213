"""Errors as gRPC's status codes, with the seconds after which to try again where that helps."""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, TypeVar

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from grpc_status import rpc_status

from app.domain.errors import (
    Forbidden,
    Gone,
    InvalidRequest,
    LovageError,
    ModelUnavailable,
    NotFound,
    RunTimeout,
    TooMany,
    Unauthenticated,
    Unavailable,
    WorkerCrashed,
)
from app.domain.tensors import WrongTensor

log = structlog.get_logger(__name__)

Code = grpc.StatusCode
Context: TypeAlias = Any  # grpc.aio.ServicerContext, which has no types
Answer = TypeVar("Answer")
# The first class that an error is of counts.
CODES: tuple[tuple[type[LovageError], grpc.StatusCode], ...] = (
    (InvalidRequest, Code.INVALID_ARGUMENT),
    (Unauthenticated, Code.UNAUTHENTICATED),
    (Forbidden, Code.PERMISSION_DENIED),
    (NotFound, Code.NOT_FOUND),
    (Gone, Code.NOT_FOUND),
    (TooMany, Code.RESOURCE_EXHAUSTED),
    (Unavailable, Code.UNAVAILABLE),
)
# Of predictions that failed, by their error's code; others are INTERNAL.
FAILURES = {
    "invalid_input": Code.INVALID_ARGUMENT,
    ModelUnavailable.code: Code.UNAVAILABLE,
    WorkerCrashed.code: Code.UNAVAILABLE,
    RunTimeout.code: Code.DEADLINE_EXCEEDED,
}
FAULT = "Lovage itself failed; the worker's log says more."


class RunEnded(LovageError):
    """A prediction that did not succeed; `code_name` is its error's code, None of one that was canceled."""

    def __init__(self, detail: str, code_name: str | None, *, is_canceled: bool = False) -> None:
        super().__init__(detail)
        self.code_name, self.is_canceled = code_name, is_canceled


def code_of(error: LovageError) -> grpc.StatusCode:
    """The status code of an error."""
    if isinstance(error, RunEnded):
        return Code.CANCELLED if error.is_canceled else FAILURES.get(error.code_name or "", Code.INTERNAL)
    return next((code for kind, code in CODES if isinstance(error, kind)), Code.INTERNAL)


def sentence_of(error: Exception) -> str:
    """For the caller, in one line."""
    if isinstance(error, WrongTensor):
        return f"{error}."
    if isinstance(error, InvalidRequest) and error.fields:
        return "; ".join(f"{field.field}: {field.description}" for field in error.fields[:5]) + "."
    return error.detail.strip() if isinstance(error, LovageError) else FAULT


async def abort(context: Context, error: LovageError | WrongTensor) -> NoReturn:
    """Ends the call with the error's status. One that may be tried again says after how long: as RetryInfo,
    as gRPC's own pushback, and in seconds."""
    code = Code.INVALID_ARGUMENT if isinstance(error, WrongTensor) else code_of(error)
    sentence = sentence_of(error)
    seconds = error.retry_after if isinstance(error, LovageError) else None
    if seconds is None:
        await context.abort(code, sentence)
        raise AssertionError("abort raises")
    status = rpc_status.to_status(
        RpcStatus(code=code.value[0], message=sentence, details=[_retry_info(seconds)])
    )
    milliseconds = str(max(1, int(seconds * 1000)))
    pushback = (("grpc-retry-pushback-ms", milliseconds), ("retry-after", f"{seconds:g}"))
    await context.abort(code, sentence, (*(status.trailing_metadata or ()), *pushback))
    raise AssertionError("abort raises")


def _retry_info(seconds: float) -> AnyMessage:
    delay = Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    packed = AnyMessage()
    packed.Pack(RetryInfo(retry_delay=delay))
    return packed


def answering(
    handle: Callable[[Any, Context], Awaitable[Answer]],
) -> Callable[[Any, Context], Awaitable[Answer]]:
    """A handler whose errors end the call with their status."""

    async def handle_or_abort(request: Any, context: Context) -> Answer:
        try:
            return await handle(request, context)
        except (LovageError, WrongTensor) as error:
            await abort(context, error)
        except Exception as error:  # a bug: logged here, a sentence for the caller
            if isinstance(error, grpc.aio.AbortError):
                raise
            log.exception("rpc_broken")
            await context.abort(Code.INTERNAL, FAULT)
        raise AssertionError("abort raises")

    return handle_or_abort
