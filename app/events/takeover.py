"""What readers have had of a prediction's output, for the attempt that goes on with it.

One script asks and marks the stream, so that whatever an earlier attempt still publishes comes either before
the mark, and is taken over, or after it, and is void.
"""

from collections.abc import Sequence
from typing import Any

import orjson
import redis
import structlog

from app.domain.work import Chunk, Delivered
from app.events import channels
from app.events.channels import ChunkFrame, Ownership

log = structlog.get_logger(__name__)

KeptFrame = tuple[ChunkFrame, Any]  # with its state (events/writer.py)

# KEYS: the stream. ARGV: its channel, the attempt, how many chunks its row has, how long it is kept. The mark
# is a frame as ChunkFrame.encode writes it.
TAKE_OVER = """
local number, generation = tonumber(ARGV[3]), 0
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then
  local frame = cjson.decode(last[2][2])
  number = math.max(number, frame[2] + (frame[5] == true and 0 or 1))
  generation = frame[4] or 0
end
local mark = cjson.encode({tonumber(ARGV[2]), number, cjson.null, generation, true})
redis.call('XADD', KEYS[1], '*', 'f', mark)
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[1], mark)
return redis.call('XRANGE', KEYS[1], '-', '+')"""


class StreamTakeover:
    """Thread-safe; blocks for a moment."""

    def __init__(self, client: "redis.Redis") -> None:
        self._script: Any = client.register_script(TAKE_OVER)

    def take_over(
        self, prediction_id: str, attempt: int, recorded: Sequence[Any], generation: int
    ) -> tuple[Delivered, int]:
        """What readers have had, and of which generation it is; from now on they take from this attempt
        alone. `recorded`: the output in the row, of that generation, which is all while Redis is away."""
        keys = [channels.kept(prediction_id)]
        args = [channels.live(prediction_id), attempt, len(recorded), channels.KEEP_SECONDS]
        try:
            entries = self._script(keys=keys, args=args)
        except redis.RedisError as error:
            log.warning("stream_not_taken_over", prediction=prediction_id, reason=str(error))
            entries = []
        return merge([as_frame(fields) for _, fields in entries], recorded, generation)


def as_frame(fields: Sequence[bytes]) -> KeptFrame:
    """An entry of the stream, its fields and values in turn."""
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    state = values.get(b"s")
    return ChunkFrame.decode(values[b"f"]), None if state is None else orjson.loads(state)


def merge(frames: Sequence[KeptFrame], recorded: Sequence[Any], generation: int) -> tuple[Delivered, int]:
    """The chunks that were published (`frames`, oldest first) or written down, without a gap."""
    newest = frames[-1][0].generation if frames else generation
    if newest < generation:  # Redis has lost the later ones
        frames, newest = (), generation
    ownership, chunks = (
        Ownership(),
        {n: (data, None) for n, data in enumerate(recorded) if newest == generation},
    )
    for frame, state in frames:
        if not ownership.is_void(frame) and not frame.is_takeover and frame.generation == newest:
            chunks[frame.number] = (frame.data, state)
    delivered = Delivered()
    while (chunk := chunks.get(len(delivered))) is not None:
        delivered.add(Chunk(*chunk))
    return delivered, newest
