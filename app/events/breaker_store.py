"""Circuit breakers of backends as all gateway workers see them: what is open is in Redis, each change is
published to all at once, and one of them all may try. Times here are Unix times of the callers' clocks."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson
import redis

from app.events import channels
from app.events.channels import BreakerChange

KEEP_SECONDS = 600  # what nobody changes any more
TRY_SECONDS = 120  # a try whose worker has died

# KEYS: the backend's hash, the try's key. ARGV: the model, who asks, now, how long a try may take (ms).
# 1: who asks may try; 0: somebody tries, or it has been opened anew.
CLAIM_TRY = """
local open = redis.call('HGET', KEYS[1], ARGV[1])
if open and tonumber(cjson.decode(open)[2]) > tonumber(ARGV[3]) then return 0 end
if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[4]) then return 1 end
return redis.call('GET', KEYS[2]) == ARGV[2] and 1 or 0"""
RELEASE_TRY = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"


class BreakerStore:
    """One for each gateway worker. Thread-safe; calls block, and raise RedisError."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client: Any = client
        self._claim_try: Any = client.register_script(CLAIM_TRY)
        self._release_try: Any = client.register_script(RELEASE_TRY)
        self.worker = uuid4().hex

    def read(self, backend: str) -> Mapping[str, tuple[float, float]]:
        """Of each model whose breaker is open there: its rest in seconds, and until when."""
        stored = self._client.hgetall(channels.breakers_of(backend))
        return {model.decode(): tuple(orjson.loads(value)) for model, value in stored.items()}

    def open(self, backend: str, model: str, rest: float, until: float) -> None:
        """Nobody calls it until then; whoever tried has ended."""
        key = channels.breakers_of(backend)
        with self._client.pipeline() as pipe:
            pipe.hset(key, model, orjson.dumps([rest, until]))
            pipe.expire(key, KEEP_SECONDS)
            pipe.delete(channels.breaker_try(backend, model))
            pipe.publish(channels.BREAKERS, self._change(backend, model, rest, until))
            pipe.execute()

    def close(self, backend: str, model: str) -> None:
        """All call it again."""
        with self._client.pipeline() as pipe:
            pipe.hdel(channels.breakers_of(backend), model)
            pipe.delete(channels.breaker_try(backend, model))
            pipe.publish(channels.BREAKERS, self._change(backend, model, 0.0, 0.0))
            pipe.execute()

    def _change(self, backend: str, model: str, rest: float, until: float) -> bytes:
        return BreakerChange(self.worker, backend, model, rest, until).encode()

    def claim_try(self, backend: str, model: str) -> bool:
        """Whether this worker is the one that tries."""
        keys = [channels.breakers_of(backend), channels.breaker_try(backend, model)]
        return bool(self._claim_try(keys=keys, args=[model, self.worker, time.time(), TRY_SECONDS * 1_000]))

    def release_try(self, backend: str, model: str) -> None:
        """The try has said nothing; another may."""
        self._release_try(keys=[channels.breaker_try(backend, model)], args=[self.worker])
