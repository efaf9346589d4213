"""Following predictions: read by id, wait for the end, stream their output as it grows.

Postgres is read in groups (DESIGN, principle 3); Redis only says when looking is worth it. While Redis is
away, waiting and streaming go on by looking once in a while, so an outage costs latency and no event.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import replace
from uuid import UUID

from app.byte_budget import ByteBudget
from app.coalesce import Coalescer
from app.db import predictions as table
from app.db.predictions import LONG_BYTES
from app.db.session import Database
from app.domain.errors import Gone, NotFound, Unavailable
from app.domain.predictions import Prediction, is_id
from app.events import channels
from app.events.channels import ChunkFrame
from app.events.chunk_subscription import ChunkSubscription
from app.events.reader import EventReader
from app.services.predictions.prediction_view import PredictionView
from app.services.predictions.stored_values import StoredValues
from app.services.predictions.stream_tail import StreamEvent, Tail

LOOK_SECONDS = 2.0  # between looks into Postgres while events come from Redis
LOOK_SECONDS_OFFLINE = 0.5  # and while none do
FOR_LONG = 30.0
READ_LIMIT = 128  # rows of one read, of which long values are left out: 12 MB at most
AT_ONCE_BYTES = 32_000_000  # of long values that are read at once
NO_PREDICTION = "The requested prediction could not be found."
LEAVING = "This server is being restarted. Try again."
REMOVED = "The data of this prediction were removed."


class Follower:
    """One for each API process."""

    def __init__(
        self,
        database: Database,
        reader: EventReader,
        stored: StoredValues,
        threads: Executor,
        view: PredictionView,
    ) -> None:
        self._database, self._threads = database, threads
        self._reader, self._stored = reader, stored
        self._view = view
        self.budget = ByteBudget(AT_ONCE_BYTES)  # for whoever reads what is long
        self._get: Coalescer[str, Prediction | None] = Coalescer(self._read_group, limit=READ_LIMIT, lanes=2)
        self._leaving = False

    def leave(self) -> None:
        """This process is about to end: those who wait are answered with what there is, streams end without
        their `done`."""
        self._leaving = True

    async def get(self, prediction_id: str) -> Prediction:
        """The prediction as its row is now: what is in the storage is not read. Raises NotFound."""
        prediction = await self._read(prediction_id)
        if not prediction.left_out:
            return prediction
        async with self.budget.hold(prediction.size):
            [whole] = await self._read_group([prediction_id])
        if whole is None:
            raise NotFound(NO_PREDICTION)
        return whole

    async def glance(self, prediction_id: str) -> Prediction:
        """The same without its long values, as in lists. Raises NotFound."""
        return without_long_values(await self._read(prediction_id))

    async def _read(self, prediction_id: str) -> Prediction:
        """Its long values may be left out."""
        prediction = await self._get(prediction_id) if is_id(prediction_id) else None
        if prediction is None:
            raise NotFound(NO_PREDICTION)
        return prediction

    async def load(self, prediction: Prediction) -> Prediction:
        """With its output, wherever that is. Raises StorageFailed."""
        if "output" not in prediction.not_here:
            return prediction
        async with self.budget.hold(prediction.size):
            output = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._stored.whole_output, prediction
            )
        return replace(prediction, output=output, output_key=None)

    async def own(self, user_id: UUID | None, prediction_id: str) -> Prediction:
        """A prediction of this user (None: of an anonymous caller). Raises NotFound, also for somebody
        else's."""
        prediction = await self.get(prediction_id)
        if prediction.user_id != user_id:
            raise NotFound(NO_PREDICTION)
        return prediction

    async def by_key(self, user_id: UUID, key: str) -> Prediction | None:
        """What this idempotency key of the user's has made, if anything."""

        def read() -> Prediction | None:
            with self._database.unit() as session:
                row = table.by_idempotency_key(session, [(user_id, key)]).get((user_id, key))
            return row[0] if row else None

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    async def _read_group(self, ids: list[str]) -> Sequence[Prediction | None]:
        def read() -> dict[str, Prediction]:
            with self._database.autocommit() as statement:
                return table.get(statement, list(set(ids)))

        predictions = await asyncio.get_running_loop().run_in_executor(self._threads, read)
        return [predictions.get(prediction_id) for prediction_id in ids]

    async def wait(self, prediction_id: str, seconds: float, before: Prediction | None = None) -> Prediction:
        """The prediction when it has ended, or as it is after `seconds` or when this process leaves;
        `before`: as it was, which may spare a look into Postgres. Raises NotFound."""
        until = time.monotonic() + seconds
        with self._reader.until_done(prediction_id) as done:
            while True:
                left = until - time.monotonic()
                if left > 0 and await done.wait(min(left, self._poll_seconds())):
                    ended = before and done.ending and channels.apply_ending(before, done.ending)
                    return ended or await self.get(prediction_id)
                prediction = await self.get(prediction_id)
                if prediction.ended or self._leaving or time.monotonic() >= until:
                    return prediction

    async def end_of(self, prediction: Prediction) -> Prediction:
        """The prediction when it has ended, however long that takes. Raises NotFound, Unavailable when this
        process leaves."""
        while not prediction.ended:
            if self._leaving:
                raise Unavailable(LEAVING, retry_after=1)
            prediction = await self.wait(prediction.id, FOR_LONG, prediction)
        return prediction

    @property
    def is_live(self) -> bool:
        """Whether events come from Redis right now; without them, one looks once in a while."""
        return self._reader.healthy

    def _poll_seconds(self) -> float:
        return LOOK_SECONDS if self.is_live else LOOK_SECONDS_OFFLINE

    async def stream(
        self, prediction_id: str, after: str | None = None, base_url: str = ""
    ) -> AsyncIterator[StreamEvent]:
        """Every output chunk from number `after` on (an event id seen before, or None for all), then error
        and done. `restart` comes before chunks that replace all others.

        Raises NotFound, Gone, and Unavailable when this process leaves before the end.
        """
        groups, event = self.stream_groups(with_data(await self.get(prediction_id)), after, base_url), None
        async with aclosing(groups) as opened:
            async for group in opened:
                for event in group:
                    yield event
        if event is None or event.event != "done":
            raise Unavailable(LEAVING, retry_after=1)

    async def stream_groups(
        self, prediction: Prediction, after: str | None = None, base_url: str = ""
    ) -> AsyncGenerator[list[StreamEvent]]:
        """As `stream`, in groups of what was there at once; an empty group now and then while nothing comes.
        URLs of files begin with `base_url`.

        The number of a chunk is its place in the output list, so what Redis has lost is filled in from the
        row. A stream that ends without `done` is to be resumed, with another process: this one leaves.
        """
        tail = Tail(prediction, after, lambda chunk: self._view.with_links(chunk, prediction.id, base_url))
        with self._reader.live(prediction.id) as subscription:
            if not prediction.ended:
                await self._reader.subscribe(prediction.id)
            while True:
                row = asyncio.ensure_future(self.get(prediction.id))  # Postgres answers beside Redis
                try:
                    async for frames in self._reader.kept(prediction.id):
                        yield tail.read(frames)
                    prediction = await row
                finally:
                    row.cancel()
                if tail.lacks_stored(prediction):
                    prediction = await self.load(prediction)
                yield tail.catch_up(prediction)
                if prediction.ended:
                    yield tail.ending(prediction)
                if prediction.ended or self._leaving:
                    return
                async for frames in self._until_look_due(subscription):
                    yield tail.read(frames)
                    if tail.gap:
                        break

    async def _until_look_due(self, subscription: ChunkSubscription) -> AsyncIterator[list[ChunkFrame]]:
        """Frames as they come, until a look at the row is due; then an empty group, if it is due because of
        silence."""
        look = False
        while not look and not self._leaving:
            frames, look = await subscription.read(self._poll_seconds())
            look = look or not frames
            yield frames

    async def close(self) -> None:
        """Waits for the reads under way."""
        await self._get.close()


def with_data(prediction: Prediction) -> Prediction:
    """The prediction, if its output can be read. Raises Gone when its data were removed."""
    if prediction.data_removed_at is not None:
        raise Gone(REMOVED)
    return prediction


def without_long_values(prediction: Prediction) -> Prediction:
    """As a list shows it."""
    input_size, output_size = prediction.input_bytes or 0, prediction.output_bytes or 0
    sizes = {"input": input_size, "output": output_size, "logs": len(prediction.logs)}
    long = tuple(name for name, size in sizes.items() if size > LONG_BYTES)
    if prediction.left_out or not long:
        return prediction
    return replace(
        prediction,
        left_out=long,
        input=None if "input" in long else prediction.input,
        output=None if "output" in long else prediction.output,
        logs="" if "logs" in long else prediction.logs,
    )
