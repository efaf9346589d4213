"""Threads that users share: whoever has the fewest calls running is next, and nobody has more running than
there are threads free beside. Knows nothing of what is called."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

Call = Callable[[], object]


class FairPool:
    """Thread-safe."""

    def __init__(self, threads: int, name: str) -> None:
        self._count = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._running: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[tuple[Future[None], Call]]] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, user: Hashable, call: Call) -> "Future[None]":
        """Runs the call when it is its user's turn. Cancelling the future before that withdraws it."""
        future: Future[None] = Future()
        with self._lock:
            self._waiting.setdefault(user, deque()).append((future, call))
        self._start_due()
        return future

    def _start_due(self) -> None:
        with self._lock:
            while not self._is_closed and (users := self._users_to_begin()):
                user = min(users, key=self._running.__getitem__)
                calls = self._waiting.pop(user)
                future, call = calls.popleft()
                if calls:
                    self._waiting[user] = calls  # behind the others
                if future.set_running_or_notify_cancel():
                    self._running[user] += 1
                    self._threads.submit(self._run, user, future, call)

    def _users_to_begin(self) -> list[Hashable]:
        """Who waits and may begin a call more, in turn. None is a user like others."""
        free = self._count - self._running.total()
        return [user for user in self._waiting if self._running[user] < free]

    def _run(self, user: Hashable, future: "Future[None]", call: Call) -> None:
        try:
            call()
            finish = partial(future.set_result, None)
        except BaseException as error:  # noqa: BLE001 - the future's, as an executor would have it
            finish = partial(future.set_exception, error)
        with self._lock:
            self._running -= Counter({user: 1})  # what is 0 is forgotten
        self._start_due()
        finish()

    def close(self) -> None:
        """Begins nothing more."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
