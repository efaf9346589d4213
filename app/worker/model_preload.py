"""Which versions this worker keeps loaded without a prediction that needs them: those that a command names,
and those to be there from the start. Knows no HTTP and no eviction.
"""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlalchemy.orm import Session

from app.db import versions
from app.db.session import Database
from app.domain import routing
from app.domain.errors import LovageError
from app.domain.routing import WorkerFacts
from app.domain.versions import Placement
from app.events.model_commands import LOAD, PIN, UNLOAD, UNPIN, ModelCommand
from app.worker.preparation import Preparation
from app.worker.work_engine import WorkEngine

log = structlog.get_logger(__name__)

AT_ONCE = 2  # downloads and loads; more would only share one disk


class ModelPreloader:
    """Thread-safe; returns at once, the loading is done beside."""

    def __init__(
        self, database: Database, engine: WorkEngine, preparation: Preparation, worker: WorkerFacts
    ) -> None:
        self._database, self._engine = database, engine
        self._preparation, self._worker = preparation, worker
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="preload")
        self._loading: set[tuple[str, bool | None]] = set()
        self._lock = threading.Lock()

    def on_command(self, command: ModelCommand) -> None:
        """Does nothing for a command to other workers, and nothing new for one that came before."""
        if self._worker.pinned not in command.workers:
            return
        if command.action in (LOAD, PIN):
            self.load(command.version, pin=True if command.action == PIN else None)
        elif command.action in (UNLOAD, UNPIN):
            self._engine.release(command.version, unload=command.action == UNLOAD)
        else:
            log.warning("unknown_command", action=command.action)  # of another release

    def load(self, version: str, *, pin: bool | None = None) -> None:
        """Loads the version soon, also when it backs off; with `pin` it then stays until it is released."""
        key = (version, pin)
        with self._lock:
            if key in self._loading:
                return
            self._loading.add(key)
        self._threads.submit(self._load, version, pin)

    def _load(self, version: str, pin: bool | None) -> None:
        def log_download(text: str) -> None:
            log.info("fetching", version=version, said=text.strip())

        try:
            ready = self._preparation.fetch(version, log_download).result()
            loaded = self._engine.load(ready.spec, pin=pin, anyway=True)
            log.info("loaded", version=version, model=loaded.model, seconds=round(loaded.load_seconds, 3))
        except LovageError as error:
            log.warning("not_loaded", version=version, reason=error.detail)
        except Exception:  # nobody looks at this thread's answer
            log.exception("not_loaded", version=version)
        finally:
            with self._lock:
                self._loading.discard((version, pin))

    def load_all(self, names: Iterable[str]) -> None:
        """Loads the named versions and models, and the newest versions that say `prefetch`, as far as they
        may run here."""
        try:
            with self._database.unit() as session:
                configs = [*self._named(session, list(names)), *versions.prefetched(session)]
        except LovageError as error:
            log.warning("nothing_preloaded", reason=error.detail)
            return
        able = [
            version
            for version, config in dict(configs).items()
            if routing.is_able(Placement.from_config(config), self._worker)
        ]
        for version in able:
            self.load(version)

    @staticmethod
    def _named(session: Session, names: Sequence[str]) -> list[tuple[str, dict[str, object]]]:
        configs = []
        for name in names:
            _, version = versions.by_reference(session, name) or (None, None)
            if version is None:
                log.warning("nothing_to_preload", name=name)
            else:
                configs.append((version.id, version.config))
        return configs

    def close(self) -> None:
        """Begins nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
