"""A gRPC server that does nothing but give back the tensors that it gets: what gRPC itself takes for them, in
a process of its own, as a worker is. Knows nothing of Lovage but the messages."""

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import grpc

from app.rpc.stubs import inference_pb2 as inference
from scripts.direct_client import INFER, OPTIONS

START_SECONDS = 30


async def _echo(request: inference.ModelInferRequest, _: Any) -> inference.ModelInferResponse:
    return inference.ModelInferResponse(raw_output_contents=request.raw_input_contents)


async def _serve(started: Connection) -> None:
    service, method = INFER.strip("/").split("/")
    handler = grpc.unary_unary_rpc_method_handler(
        _echo, inference.ModelInferRequest.FromString, inference.ModelInferResponse.SerializeToString
    )
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    started.send(port)
    await server.wait_for_termination()


def _run(started: Connection) -> None:
    asyncio.run(_serve(started))


@contextmanager
def bare_server() -> Iterator[str]:
    """Its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs,), daemon=True)
    process.start()
    try:
        if not ours.poll(START_SECONDS):
            raise RuntimeError("the bare gRPC server did not start")
        yield f"127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()
