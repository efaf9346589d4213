"""Puts the services of one process together, from the settings; the order of closing is the reverse of opening."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from app.db.session import Database, connect
from app.events import channels
from app.events.orders import OrderLine
from app.events.reader import EventReader
from app.events.writer import EventWriter
from app.queue.doorbell import Doorbell
from app.queue.publisher import Publisher
from app.services.abandonment import Abandonment
from app.services.announcer import Announcer
from app.services.backlog import Backlog
from app.services.fleet import Fleet
from app.services.follow import Follower
from app.services.input_check import InputChecker
from app.services.lifecycle import Lifecycle
from app.services.own_files import OwnFiles
from app.services.prediction_view import PredictionView
from app.services.recovery import Recovery, SweepLimits
from app.services.submit import Submitter
from app.services.waiting_line import WaitingLine
from app.settings import Settings
from app.storage import open_storage
from app.storage.base import Storage


@dataclass(slots=True)
class Core:
    """What every process that touches predictions has: the API, a worker, a courier, the clock's sweeper."""

    settings: Settings
    database: Database
    storage: Storage
    view: PredictionView
    publisher: Publisher
    events: EventWriter
    announcer: Announcer
    lifecycle: Lifecycle
    doorbell: Doorbell

    @classmethod
    def open(cls, settings: Settings, *, application: str, pool: int, impatient: bool = False) -> "Core":
        """Connects lazily: a Postgres or Redis that is down fails the calls, not the start. `impatient`: see Database."""
        database = Database(connect(settings.database_url, pool=pool, application=application), impatient=impatient)
        storage = open_storage(settings)
        view = PredictionView(storage, settings.secret_key, settings.public_url, settings.file_url_seconds)
        publisher, events = Publisher(settings.redis_url, channels.NEWS), EventWriter(settings.redis_url)
        publisher.start()
        events.start()
        announcer = Announcer(publisher, events)
        lifecycle = Lifecycle(database, view, announcer, settings.max_crashes)
        doorbell = Doorbell(settings.redis_url)
        return cls(settings, database, storage, view, publisher, events, announcer, lifecycle, doorbell)

    def recovery(self) -> Recovery:
        """The sweeps over this core."""
        limits = SweepLimits(self.settings.dead_after_seconds, self.settings.retention_hours, self.settings.audit_days)
        return Recovery(self.database, self.lifecycle, self.announcer, self.doorbell, self.storage, limits)

    def close(self) -> None:
        """Sends what is still to be announced, then disconnects."""
        self.publisher.close()
        self.events.close()
        self.doorbell.close()
        self.database.close()


@dataclass(slots=True)
class Assembly:
    """The API process's services around a core."""

    core: Core
    threads: ThreadPoolExecutor
    reader: EventReader
    fleet: Fleet
    submitter: Submitter
    follower: Follower
    line: WaitingLine
    abandonment: Abandonment
    orders: OrderLine

    @classmethod
    async def open(cls, settings: Settings) -> "Assembly":
        """To be awaited on the loop that will serve requests."""
        threads = ThreadPoolExecutor(settings.api_threads, thread_name_prefix="db")
        core = Core.open(settings, application="lovage-api", pool=settings.api_threads, impatient=True)
        reader = EventReader(settings.redis_url)
        reader.start()
        fleet = Fleet(core.database, threads, settings.dead_after_seconds, settings.routing_strategy)
        checker = InputChecker(allow_private=settings.allow_private_addresses)
        backlog = Backlog(core.database, threads, each=settings.max_waiting_per_user, all=settings.max_waiting)
        own_files = OwnFiles(core.database, threads)
        submitter = Submitter(core.database, core.lifecycle, checker, own_files, fleet, backlog, threads)
        follower = Follower(core.database, reader, threads)
        line, abandonment = WaitingLine(core.database, threads), Abandonment(reader, core.lifecycle, core.announcer, threads)
        orders = OrderLine(settings.redis_url)
        return cls(core, threads, reader, fleet, submitter, follower, line, abandonment, orders)

    async def close(self) -> None:
        """Finishes what is under way, then disconnects."""
        await self.submitter.close()
        await self.abandonment.close()
        await self.follower.close()
        await self.reader.close()
        self.orders.close()
        self.threads.shutdown(wait=True)
        self.core.close()
