"""The queues' Redis lists, read in bulk beside Celery's consumer, which costs some 0.6 ms of CPU for each
message."""

import time
from collections.abc import Collection, Sequence
from typing import Any

import orjson
import redis
import structlog

from app.broker import names
from app.domain import queue_names

log = structlog.get_logger(__name__)

# Takes at most ARGV[1] messages from the lists in KEYS, the first list first, in one round trip.
POP_MANY = """
local left, messages = tonumber(ARGV[1]), {}
for _, key in ipairs(KEYS) do
  if left > 0 then
    local popped = redis.call('RPOP', key, left)
    if popped then
      for _, message in ipairs(popped) do messages[#messages + 1] = message end
      left = left - #popped
    end
  end
end
return messages"""


class QueueLists:
    """The lists of some of Celery's queues, read by one thread. A Redis that cannot be reached looks like
    empty lists."""

    def __init__(self, client: "redis.Redis", queues: Sequence[str], task: str = names.TASK_PREDICT) -> None:
        self._client, self._task = client, task
        self._pop_many: Any = client.register_script(POP_MANY)
        self._keys = [names.list_key(queue) for queue in queues]

    def pop(self, limit: int) -> list[str]:
        """Ids of at most `limit` messages of the task, gone from Redis."""
        try:
            messages = self._pop_many(keys=self._keys, args=[limit])
        except redis.RedisError:
            return []
        return [message_id for raw in messages if (message_id := message_id_of(raw, self._task))]

    def wait(self, seconds: float) -> list[str]:
        """The next one, or none when nothing comes for so long."""
        try:
            popped: Any = self._client.brpop(self._keys, seconds)
        except redis.RedisError:
            time.sleep(seconds)
            return []
        return [message_id] if popped and (message_id := message_id_of(popped[1], self._task)) else []


SCANNED = 1_000  # keys looked at in one step of a scan


class UnreadLists:
    """The lists of queues that nobody reads: a renamed machine's, a class's that has no worker any more.

    Their messages are of no use, as whoever comes looks into Postgres first."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def delete(self, read: Collection[str]) -> list[str]:
        """Deletes the lists of all queues but those that are `read`, also those that the release before made
        without a prefix. Returns the names of their queues; none while Redis cannot be reached."""
        try:
            lists = list(self._client.scan_iter(f"{names.KEY_PREFIX}*", SCANNED, "LIST"))
            unread = {key: queue for key in lists if (queue := _unread_queue(key.decode(), read))}
            if unread:
                self._client.unlink(*unread)
        except redis.RedisError:
            return []
        return list(unread.values())


def _unread_queue(key: str, read: Collection[str]) -> str | None:
    """The queue whose list this is, if nobody reads it; None for other lists."""
    name = key.removeprefix(names.KEY_PREFIX)
    if name.startswith(names.QUEUE_PREFIX):
        queue = name.removeprefix(names.QUEUE_PREFIX)
        return None if queue in read else queue
    return name if queue_names.is_queue(name) else None


def message_id_of(raw: bytes, task: str) -> str | None:
    """The id in a message of this task; None, with a line in the log, for any other message."""
    try:
        headers = orjson.loads(raw)["headers"]
        if headers["task"] == task:
            return str(headers["id"])
        log.error("unknown_message_discarded", task=headers["task"])
    except (ValueError, KeyError, TypeError):
        log.error("unreadable_message_discarded")
    return None
