"""Publishes Celery messages off the request path: callers hand over ids and go on, and never wait for Redis.

A message that is lost with its connection is kept and sent again while there is capacity, then dropped and
counted; one that Redis refuses (WRONGTYPE, OOM) would be refused again, so it is counted and dropped at once.
Workers that get no message look into Postgres themselves, so a dropped message delays a prediction by a
second or two and loses nothing. State changes go out behind the messages about the same predictions, so that
no worker's later change overtakes them.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import redis
import structlog

from app.broker import messages, names
from app.coalesce import next_group
from app.domain import queue_names
from app.redis_pipe import BatchSender, Command

log = structlog.get_logger(__name__)

HELD_AT_MOST = 200_000  # ids, some 100 bytes each: what an outage may hold in memory
GROUP = 1_000
RETRY_SECONDS = 0.5

Notification = tuple[str, str, str]  # Celery's queue, task, id


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """What is sent at once: a command for each queue, in the order of their first messages, then the
    changes."""

    notifications: list[Notification]
    changes: list[Any]

    def by_queue(self) -> dict[str, list[Notification]]:
        """In the order of the commands."""
        queues: dict[str, list[Notification]] = {}
        for notification in self.notifications:
            queues.setdefault(notification[0], []).append(notification)
        return queues


class Publisher(BatchSender[MessageBatch]):
    """`dropped` counts messages that were given up, `refused` those among them that Redis refused.
    `changes_channel`: where state changes are published, as
    JSON lists; what Redis does not take of them is dropped."""

    def __init__(self, client: "redis.Redis", changes_channel: str) -> None:
        super().__init__(client, "publisher")
        self._changes_channel = changes_channel
        self._waiting: deque[Notification] = deque()
        self._changes: deque[Any] = deque(maxlen=HELD_AT_MOST)
        self.dropped = self.refused = 0
        self.failing = False

    def publish(self, notifications: Iterable[tuple[str, str]], changes: Iterable[Any] = ()) -> None:
        """Notifies workers of predictions: pairs of (queue, id). Returns at once and never raises."""
        self._add(
            (
                (names.celery_queue(queue), names.TASK_PREDICT, prediction_id)
                for queue, prediction_id in notifications
                if queue != queue_names.UNPLACED  # nobody reads it
            ),
            changes,
        )

    def publish_deliveries(self, ids: Iterable[str]) -> None:
        """Notifies couriers of webhook deliveries."""
        self._add((queue_names.WEBHOOKS, names.TASK_DELIVER, delivery_id) for delivery_id in ids)

    def _add(self, notifications: Iterable[Notification], changes: Iterable[Any] = ()) -> None:
        with self._wake:
            self._changes.extend(changes)
            for notification in notifications:
                if len(self._waiting) >= HELD_AT_MOST:
                    self.dropped += 1
                else:
                    self._waiting.append(notification)
            batch = self._begin_batch()
        self._send(batch)

    def _has_some(self) -> bool:
        return bool(self._waiting)

    def _next_group(self) -> MessageBatch | None:
        return (
            MessageBatch(next_group(self._waiting, GROUP), next_group(self._changes, HELD_AT_MOST))
            if self._waiting
            else None
        )

    def _commands(self, group: MessageBatch) -> list[Command]:
        commands: list[Command] = [
            (
                "LPUSH",
                names.list_key(queue),
                *(messages.about(task, message_id, queue) for _, task, message_id in notifications),
            )
            for queue, notifications in group.by_queue().items()
        ]
        return (
            [*commands, ("PUBLISH", self._changes_channel, orjson.dumps(group.changes))]
            if group.changes
            else commands
        )

    def _on_answered(self) -> None:
        if self.failing:
            self.failing = False
            log.info("redis_reachable_again", dropped=self.dropped)

    def _on_refused(self, group: MessageBatch, refused: Mapping[int, redis.ResponseError]) -> None:
        for number, (queue, notifications) in enumerate(group.by_queue().items()):
            if error := refused.get(number):
                self.refused += len(notifications)
                self.dropped += len(notifications)
                log.error("messages_refused", queue=queue, count=len(notifications), reason=str(error))

    def _on_lost(self, group: MessageBatch, error: redis.RedisError, answered: int) -> None:
        unanswered = list(group.by_queue().values())[answered:]
        lost = [notification for notifications in unanswered for notification in notifications]
        if not self.failing:
            log.warning("redis_unreachable", waiting=len(self._waiting) + len(lost), reason=str(error))
        self.failing = True
        with self._wake:
            if self._closing:
                self.dropped += len(lost)
                return
            self._waiting.extendleft(reversed(lost))
            while len(self._waiting) > HELD_AT_MOST:
                self._waiting.pop()
                self.dropped += 1
            self._wake.wait_for(lambda: self._closing, RETRY_SECONDS)
            self._changes.clear()  # later changes may have been published already

    def _on_bug(self, group: MessageBatch) -> None:
        self.dropped += len(group.notifications)
        log.exception("messages_not_published", count=len(group.notifications))
