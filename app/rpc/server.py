"""The gRPC server of a worker: a thread with a loop of its own, which nothing of the worker waits for."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from app.domain.errors import Unavailable
from app.rpc.direct_calls import DirectCalls
from app.rpc.tls import ReloadedCertificates, TlsFiles

log = structlog.get_logger(__name__)

MOST_MESSAGE_BYTES = 64 * 1024 * 1024
MOST_CALLS = 2_000  # under way at once; more are answered RESOURCE_EXHAUSTED by gRPC itself
LAST_SECONDS = 3.0  # for answers that are on their way
START_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class RpcOptions:
    """Where it listens. With `tls` it takes no plaintext."""

    host: str
    port: int
    tls: TlsFiles | None = None


@dataclass(slots=True)
class OpenServer:
    """What is served, once the loop runs. `close` ends what the handlers use."""

    calls: DirectCalls
    handlers: Sequence[grpc.GenericRpcHandler]
    names: Sequence[str]
    close: Callable[[], Awaitable[None]]


class RpcServer:
    """A DirectServer (worker/direct_runs.py). `open` is called on the server's loop."""

    def __init__(self, options: RpcOptions, open_server: Callable[[], OpenServer]) -> None:
        self._options, self._open = options, open_server
        self._loop: asyncio.AbstractEventLoop | None = None
        self._calls: DirectCalls | None = None
        self._health = health.aio.HealthServicer()
        self._quit = asyncio.Event()
        self._started = threading.Event()
        self._error: BaseException | None = None
        self.port = 0
        self._thread = threading.Thread(target=self._run, name="rpc", daemon=True)

    def start(self) -> None:
        """Returns when it listens. Raises Unavailable when the port is taken."""
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # models are forked by another process
        self._thread.start()
        self._started.wait(START_SECONDS)
        if self._error:
            raise self._error

    def refuse(self) -> None:
        """Health says NOT_SERVING, new calls are answered UNAVAILABLE; what runs goes on."""
        if self._calls is not None and self._loop is not None:
            self._calls.draining = True
            asyncio.run_coroutine_threadsafe(self._health.enter_graceful_shutdown(), self._loop)

    def close(self) -> None:
        """Answers what has ended, cancels the rest."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._quit.set)
            self._thread.join(LAST_SECONDS * 2)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # raised by `start`, whatever it is, and logged
            self._error = error
            log.exception("rpc_server_broken")
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        opened = self._open()
        self._calls = opened.calls
        server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", 0),  # a second worker on this port must fail, not get half the calls
                ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
                ("grpc.max_send_message_length", -1),
            ),
            maximum_concurrent_rpcs=MOST_CALLS,
        )
        server.add_generic_rpc_handlers(tuple(opened.handlers))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*opened.names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        for name in ("", *opened.names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self.port = self._bind(server)
        await server.start()
        log.info("rpc_ready", host=self._options.host, port=self.port, tls=self._options.tls is not None)
        self._started.set()
        await self._quit.wait()
        await server.stop(LAST_SECONDS)
        await opened.close()

    def _bind(self, server: grpc.aio.Server) -> int:
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        address = f"{host}:{self._options.port}"
        tls = self._options.tls
        credentials = ReloadedCertificates(tls).credentials() if tls else None
        try:
            if credentials:
                return int(server.add_secure_port(address, credentials))
            return int(server.add_insecure_port(address))
        except RuntimeError as error:
            raise Unavailable(f"GRPC_PORT={self._options.port} cannot be opened: {error}") from None
