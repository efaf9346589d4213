"""The threads on which a runner waits, apart from each other so that none of them waits for another kind's
slow ones. Knows no prediction."""

from concurrent.futures import ThreadPoolExecutor

from app.worker.fair_pool import FairPool

# At once: versions read from Postgres, input files, output files, attempts that go back, files removed.
LOOK_UPS, FETCHES = 4, 16
STORES, HAND_BACKS = 8, 2
REMOVALS = 2


class RunnerThreads:
    """What comes from or goes to a user's files is shared by users in turn."""

    def __init__(self) -> None:
        self.look_ups = ThreadPoolExecutor(LOOK_UPS, thread_name_prefix="look-up")
        self.fetches, self.stores = FairPool(FETCHES, "fetch"), FairPool(STORES, "store")
        self.hand_backs = ThreadPoolExecutor(HAND_BACKS, thread_name_prefix="hand-back")
        self.removals = ThreadPoolExecutor(REMOVALS, thread_name_prefix="remove")

    def close(self) -> None:
        """Begins nothing more."""
        self.fetches.close()
        self.stores.close()
        for threads in (self.look_ups, self.hand_backs, self.removals):
            threads.shutdown(wait=False, cancel_futures=True)
