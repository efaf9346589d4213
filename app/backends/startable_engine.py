"""A recipe made a running server of this machine: its memory, its packages, its port, and the wait for its
first answer. Decides nothing about when."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.backends import engine_recipe, registry
from app.backends.base import BackendAddress, BackendKind, JsonObject
from app.backends.engine_recipe import Recipe
from app.backends.kept_process import KeptProcess
from app.domain.backend_retry import Fault, UpstreamFailed
from app.memory_reservations import MemoryReservations, Reservation
from app.outbound.async_client import AsyncGuardedClient
from app.package_environment import InstallFailed, make_venv

START_SECONDS = 600.0
LOOK_SECONDS = 0.2  # between looks at a server that starts
ROOM_SECONDS = 30.0  # for the workers of the device to make room

SetPhase = Callable[[str], None]


class StartableEngine:
    """Of a backend whose address is `engine:NAME`."""

    def __init__(self, address: BackendAddress, client: AsyncGuardedClient) -> None:
        self._address, self._client = address, client
        self._option, self._machine = address.options.get, address.machine
        self._values = address.options.get("values") or {}

    def recipe(self) -> Recipe:
        """Raises UpstreamFailed."""
        return engine_recipe.find(self._address.url.removeprefix("engine:"), self._machine.folder)

    def check(self) -> None:
        """Whether it could be started here, as far as that shows. Raises UpstreamFailed."""
        host = self._option("host")
        if host and self._machine.host and host != self._machine.host:
            raise UpstreamFailed(f"runs on {host}, not on this machine", Fault.SETUP)
        recipe = self.recipe()
        recipe.check(self._values)
        if not recipe.requirements:
            engine_recipe.program_of(recipe.command, None)

    @asynccontextmanager
    async def running(self, set_phase: SetPhase) -> AsyncIterator[tuple[KeptProcess, BackendKind]]:
        """Its process and the connection to it, from its first answer on; nothing of it is left afterwards.
        Raises UpstreamFailed."""
        set_phase("it is being started")
        try:
            reservation = await self._reserve()
            try:
                async with self._started(reservation, set_phase) as started:
                    reservation.set_used()
                    yield started
            finally:
                reservation.release()
        except InstallFailed as error:
            raise UpstreamFailed(f"needs packages: its recipe {error}", Fault.SETUP) from error
        except OSError as error:
            raise UpstreamFailed(f"cannot be started: {error.strerror}", Fault.SETUP) from error
        except ValueError as error:  # a device that is not there
            raise UpstreamFailed(f"cannot be started: {error}", Fault.SETUP) from error

    async def _reserve(self) -> Reservation:
        """Its name on this machine, and its memory. Raises UpstreamFailed."""
        device, size = str(self._option("device", "cpu")), int(self._option("memory_bytes", 0))
        reservations = MemoryReservations(self._machine.folder / engine_recipe.FOLDER)
        held = await asyncio.to_thread(reservations.hold, self._address.name, device, size)
        if held is None:
            raise UpstreamFailed("is kept by another gateway worker of this machine")
        is_ours = False
        try:
            await self._await_room(device, size)
            is_ours = True
        finally:
            if not is_ours:
                held.release()
        return held

    async def _await_room(self, device: str, size: int) -> None:
        """Workers that see the reservation make room. Raises UpstreamFailed."""
        until = time.monotonic() + ROOM_SECONDS
        while size and (free := await asyncio.to_thread(self._machine.free_bytes, device)) < size:
            if time.monotonic() > until:
                raise UpstreamFailed(f"has no room: it needs {size:,} bytes, {free:,} are free on {device}")
            await asyncio.sleep(LOOK_SECONDS)

    @asynccontextmanager
    async def _started(
        self, reservation: Reservation, set_phase: SetPhase
    ) -> AsyncIterator[tuple[KeptProcess, BackendKind]]:
        self.check()
        recipe, machine = self.recipe(), self._machine
        port, key = machine.choose_port(), secrets.token_hex(16)
        programs = None
        if recipe.requirements:
            set_phase("its packages are being installed")
            programs = await asyncio.to_thread(
                make_venv, recipe.requirements, machine.folder / "environments"
            )
            set_phase("it is being started")
        command, variables = recipe.filled(self._gaps(port, key))
        environment = engine_recipe.environment_of(programs, variables)
        environment |= engine_recipe.visible_device(str(self._option("device", "")), environment)
        command[0] = engine_recipe.program_of(command, programs)
        log_file = machine.folder / "logs" / f"engine-{self._address.name}.log"
        process = await KeptProcess.start(command, environment, log_file, reservation.descriptor)
        try:
            server = self._connection(recipe, port, key)
            await self._await_answer(process, server)
            yield process, server
        finally:
            await asyncio.shield(process.stop())

    def _gaps(self, port: int, key: str) -> JsonObject:
        device = str(self._option("device", ""))
        own: JsonObject = {"port": port, "key": key, "model": self._option("model")}
        own["torch_device"] = device.partition(":")[0].replace("rocm", "cuda") or None
        if device and (size := self._option("memory_bytes")) and (total := self._machine.total_bytes(device)):
            own["memory_share"] = round(size / total, 3)
        return {**self._values, **own}

    def _connection(self, recipe: Recipe, port: int, key: str) -> BackendKind:
        url, silence = f"http://127.0.0.1:{port}", self._address.silence_seconds
        return registry.find(recipe.speaks)(BackendAddress(url, key, silence), self._client)

    async def _await_answer(self, process: KeptProcess, server: BackendKind) -> None:
        """Raises UpstreamFailed when it ends, or does not answer in time."""
        seconds = float(self._option("start_seconds", START_SECONDS))
        until, ended = time.monotonic() + seconds, asyncio.ensure_future(process.wait())
        try:
            while time.monotonic() < until:
                try:
                    await server.check()
                    return
                except UpstreamFailed:
                    await asyncio.wait([ended], timeout=LOOK_SECONDS)
                if ended.done():
                    raise UpstreamFailed(process.describe_end())
            raise UpstreamFailed(f"was not ready within {seconds:g} s")
        finally:
            ended.cancel()
