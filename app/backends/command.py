"""One run of a program: an own process group, working folder and short environment; bounded time, output and
memory; no shell. Knows no backend and no prediction."""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

PATH = "/usr/local/bin:/usr/bin:/bin"
STDERR_KEPT = 4_000  # characters
BLOCK = 65_536


class CommandFailed(Exception):
    """The sentence goes on after the program's name."""


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """`memory_bytes` of address space of each of its processes, 0: no limit."""

    seconds: float
    output_bytes: int
    memory_bytes: int = 0


class RunningCommand:
    """`lines` first, then `check_end`."""

    def __init__(self, process: Process, limits: CommandLimits, stdin: bytes) -> None:
        self._process, self._limits = process, limits
        self._stderr = b""
        self._feeding = asyncio.gather(self._feed(stdin), self._read_stderr())

    async def _feed(self, data: bytes) -> None:
        stdin = self._process.stdin
        assert stdin
        with contextlib.suppress(ConnectionError):  # it need not read what it is sent
            stdin.write(data)
            await stdin.drain()
        stdin.close()

    async def _read_stderr(self) -> None:
        assert self._process.stderr
        while block := await self._process.stderr.read(BLOCK):
            self._stderr = (self._stderr + block)[-STDERR_KEPT:]

    @property
    def stderr(self) -> str:
        """The end of what it has written there."""
        return self._stderr.decode("utf-8", "replace")

    async def lines(self) -> AsyncIterator[str]:
        """What it writes, line by line, with the line ends. Raises CommandFailed for too much."""
        assert self._process.stdout
        size, rest = 0, b""
        while block := await self._process.stdout.read(BLOCK):
            size += len(block)
            if size > self._limits.output_bytes:
                raise CommandFailed(f"wrote more than {self._limits.output_bytes} bytes")
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace") + "\n"
        if rest:
            yield rest.decode("utf-8", "replace")

    async def check_end(self) -> None:
        """Raises CommandFailed unless it ended by itself with 0."""
        await self._feeding
        code = await self._process.wait()
        if code:
            last = self.stderr.strip().rpartition("\n")[2][:300]
            how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
            raise CommandFailed(how + (f": {last}" if last else ""))

    async def end(self) -> None:
        """Whatever is left of it."""
        self._feeding.cancel()
        await kill_group(self._process)
        await asyncio.gather(self._feeding, return_exceptions=True)


async def kill_group(process: Process) -> None:
    """Its pipes are closed here: asyncio waits for their ends, which whoever has left the group, and what
    nobody has read, would hold back for ever."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process._transport.close()  # type: ignore[attr-defined]
    await process.wait()


async def start(program: Path, arguments: Sequence[str], folder: str) -> Process:
    """Cancelled while it starts, it is killed with all that it has begun by then: asyncio would kill the
    program alone. Raises OSError."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            str(program),
            *arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=folder,
            env={"PATH": PATH, "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"},
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await kill_group(await starting)
        raise


@asynccontextmanager
async def running(
    program: Path, arguments: Sequence[str], stdin: bytes, limits: CommandLimits
) -> AsyncIterator[RunningCommand]:
    """The program, started; nothing of it is left afterwards. Raises CommandFailed."""
    folder = tempfile.mkdtemp(prefix="lovage-command-")
    try:
        process = await start(program, arguments, folder)
        if limits.memory_bytes:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_AS, (limits.memory_bytes,) * 2)
        command = RunningCommand(process, limits, stdin)
        try:
            async with asyncio.timeout(limits.seconds):
                yield command
        except TimeoutError:
            raise CommandFailed(f"ran longer than {limits.seconds:g} s") from None
        finally:
            await asyncio.shield(command.end())
    except OSError as error:
        raise CommandFailed(f"cannot be started: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
