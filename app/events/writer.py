"""The sending side, for threads: hand over and go on. One thread sends whatever waits in one pipeline (DESIGN, principle 3).

Bounded; what Redis does not take is dropped, because readers re-read Postgres when they hear nothing.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeVar

import orjson
import redis
import structlog

from app.events import channels
from app.events.channels import ChunkFrame

log = structlog.get_logger(__name__)

T = TypeVar("T")

HELD_AT_MOST = 50_000
GROUP = 500
NEWS_SECONDS = 0.05  # news that is in no hurry waits so long for company: it informs people, and no prediction waits for it


class EventWriter:
    """Thread-safe. `dropped` counts what was not sent."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=1, retry=None)
        self._done: deque[tuple[str, str | None]] = deque(maxlen=HELD_AT_MOST)
        self._cancel: deque[str] = deque(maxlen=HELD_AT_MOST)
        self._chunks: deque[tuple[str, ChunkFrame]] = deque(maxlen=HELD_AT_MOST)
        self._news: deque[list[str]] = deque(maxlen=HELD_AT_MOST)
        self._wake = threading.Condition()
        self._closing = self._soon = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def done(self, endings: Mapping[str, str | None]) -> None:
        """These predictions have ended (their rows are committed), and how, where that is short (`channels.ending`). While Redis
        takes nothing, only that they have."""
        brief = len(self._done) > GROUP
        self._hand_over(self._done, [(one, None if brief else told) for one, told in endings.items()])

    def cancel(self, ids: Iterable[str]) -> None:
        """Whoever runs these predictions is asked to stop them."""
        self._hand_over(self._cancel, ids)

    def news(self, changes: Iterable[list[str]], *, soon: bool) -> None:
        """[user, prediction, status, model] of each change of state. `soon`: the next one may be another process's to tell, and
        must not overtake it; else it rides along with what is sent next."""
        with self._wake:
            self._soon, first = self._soon or soon, not self._news
            self._news.extend(changes)
            if first or soon:
                self._wake.notify()

    def chunk(self, prediction_id: str, frame: ChunkFrame) -> None:
        """One more element of a growing output."""
        self._hand_over(self._chunks, [(prediction_id, frame)])

    def _hand_over(self, waiting: deque[T], items: Iterable[T]) -> None:
        with self._wake:
            waiting.extend(items)
            self._wake.notify()

    def _urgent(self) -> bool:
        return bool(self._closing or self._soon or self._done or self._cancel or self._chunks)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._urgent() or self._news)
                self._wake.wait_for(self._urgent, NEWS_SECONDS)
                if not (self._done or self._cancel or self._chunks or self._news):
                    return
                done, cancel, chunks = _drain(self._done), _drain(self._cancel), _drain(self._chunks)
                news, self._soon = _drain(self._news), False
            try:
                self._send(done, cancel, chunks, news)
            except redis.RedisError as error:
                self.dropped += len(done) + len(cancel) + len(chunks)
                log.warning("events_dropped", total=self.dropped, reason=str(error))
            except Exception:  # one that cannot be said must not silence all that come after it
                self.dropped += len(done) + len(cancel) + len(chunks)
                log.exception("events_broken")

    def _send(
        self,
        done: list[tuple[str, str | None]],
        cancel: list[str],
        chunks: list[tuple[str, ChunkFrame]],
        news: list[list[str]],
    ) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for prediction_id, frame in chunks:
            raw = frame.encode()
            pipeline.xadd(channels.kept(prediction_id), {"f": raw}, maxlen=channels.LONGEST, approximate=True)
            pipeline.publish(channels.live(prediction_id), raw)
        for prediction_id in {prediction_id for prediction_id, _ in chunks}:
            pipeline.expire(channels.kept(prediction_id), channels.KEEP_SECONDS)
        if done:
            pipeline.publish(channels.DONE, orjson.dumps(dict(done)))
        if cancel:
            pipeline.publish(channels.CANCEL, orjson.dumps(cancel))
        if news:
            pipeline.publish(channels.NEWS, orjson.dumps(news))
        pipeline.execute()

    def close(self, timeout: float = 2.0) -> None:
        """Sends what waits, for at most `timeout` seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(timeout)
        self._redis.close()


def _drain(waiting: deque[T]) -> list[T]:
    return [waiting.popleft() for _ in range(min(GROUP, len(waiting)))]
