"""One start of a server on this machine, under a keeper: the server ends with it and it ends with us, however
we end. Knows no recipe and no prediction."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.backends import keeper

GRACE_SECONDS = 10.0  # for a server to end by itself
TAIL_BYTES = 4_000


class KeptProcess:
    """Started by `start`."""

    def __init__(self, process: Process, log: Path) -> None:
        self._process, self._log = process, log

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], log: Path, held: int
    ) -> "KeptProcess":
        """`held`: a descriptor that stays open until nothing of the server is left. Raises OSError."""
        log.parent.mkdir(parents=True, exist_ok=True)
        program = (sys.executable, "-I", "-S", keeper.__file__, str(log), str(GRACE_SECONDS))
        process = await asyncio.create_subprocess_exec(
            *program,
            *command,
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=DEVNULL,
            env=dict(environment),
            start_new_session=True,
            pass_fds=(held,),
        )
        return cls(process, log)

    async def wait(self) -> int:
        """Its exit status, once nothing of it is left."""
        return await self._process.wait()

    def describe_end(self) -> str:
        """A sentence, with the last that it has said."""
        code = self._process.returncode or 0
        how = f"ended by signal {code - 128}" if code > 128 else f"ended with {abs(code)}"
        return how + (f": {last}" if (last := self._last_line()) else "")

    def _last_line(self) -> str:
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
            return lines[-1].strip()[:300] if lines else ""
        return ""

    async def stop(self) -> None:
        """Asks it to end, and waits until nothing of it is left."""
        if self._process.returncode is None:
            assert self._process.stdin
            self._process.stdin.close()
            try:
                async with asyncio.timeout(GRACE_SECONDS * 2):
                    await self._process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
