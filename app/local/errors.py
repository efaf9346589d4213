"""What can go wrong while starting or stopping the platform, as sentences for the person at the terminal.

Every error here is expected (a taken port, a second `up`); the command line prints its text and nothing else.
It does not know where the text is shown.
"""


class LocalError(Exception):
    """A start or stop that cannot go on; the text is one sentence and says what to do."""


class AlreadyRunning(LocalError):
    """Another launcher holds the data directory."""

    def __init__(self, data_dir: str, pid: int | None) -> None:
        self.pid = pid
        who = f"pid {pid}" if pid else "another process"
        super().__init__(
            f"Lovage is already running on {data_dir} ({who}). Stop it with `lovage down` first."
        )


class NotRunning(LocalError):
    """Nothing holds the data directory."""

    def __init__(self, data_dir: str) -> None:
        super().__init__(f"Lovage is not running on {data_dir}.")


class StillBusy(LocalError):
    """A server of a launcher that died has not let go of its files yet."""


class StartFailed(LocalError):
    """A program ended, or did not become ready in time; the text carries the end of its log."""


class CannotSpawn(LocalError):
    """The operating system refused to start a program."""
