"""`make chaos`: for every fault, a platform under load, the fault, and a count of what became of every
prediction.

Exit code 1 when anything was lost, stuck, doubled or cross-wired, a webhook missing or unsigned, or a process
left behind.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from app.local.platform_state import Platform
from scripts.chaos.faults import CELLS, MAY_FAIL, NEEDS, Family
from scripts.chaos.load import Load, Receiver
from scripts.own_platform import own_disk, remove, start, stop, terminable

SETTLE_SECONDS = 90.0
WEBHOOK_SECONDS = 60.0
COLUMNS = (
    "accepted",
    "succeeded",
    "failed",
    "canceled",
    "unexplained",
    "canceled by nobody",
    "refused",
    "lost",
    "stuck",
    "doubled",
    "cross-wired",
    "webhooks missing",
    "unsigned",
    "changed",
    "trapped",
)
BREACHES = COLUMNS[4:]


@dataclass
class Row:
    """What one fault did; `flow` is the seconds from the fault to the first success of a later prediction.
    `lacking`: what this machine lacks, so that it was not tried."""

    name: str
    counts: dict[str, int]
    flow: float | None
    lacking: str = ""

    @property
    def good(self) -> bool:
        return not any(self.counts[name] for name in BREACHES)

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.lacking:
            return f"NOT TRIED: no {self.lacking}"
        return "ok" if self.good else "BREACH"


def run_cell(name: str, platform: Platform, seconds: float) -> Row:
    """One fault under load, in the middle of `seconds`."""
    need, is_met = NEEDS.get(name, ("", lambda platform: True))
    if not is_met(platform):
        return Row(name, dict.fromkeys(COLUMNS, 0), None, lacking=need)
    receiver = Receiver()
    load = Load(platform.api_url, Path(platform.key_file).read_text().strip(), receiver)
    load.start()
    time.sleep(seconds / 3)
    broken_at = time.monotonic()
    CELLS[name](Family(platform), load)
    after = time.monotonic()
    time.sleep(seconds * 2 / 3)
    load.stop()
    counts = Counter(dict.fromkeys(COLUMNS, 0))
    for each in (load, *load.others):
        counts.update(_count_settled(each, MAY_FAIL.get(name)))
    return Row(name, dict(counts), flow(load, broken_at, after))


def _count_settled(load: Load, may_fail: str | None) -> dict[str, int]:
    """When all has ended, or the time for it is over."""
    load.settle(SETTLE_SECONDS)
    load.count_doubled()
    _await_webhooks(load)
    load.receiver.go_down()
    for one in [one for one in load.sent if one.ended is None][:3]:
        print(f"stuck: {one}: {load.client().get(f'/v1/predictions/{one.id}').text}", flush=True)
    for failed in [one.ended for one in load.sent if one.ended and one.ended["status"] == "failed"][:3]:
        print(f"failed: {failed.get('error_code')}: {failed['error']}", flush=True)
    return count(load, may_fail)


def _await_webhooks(load: Load) -> None:
    until = time.monotonic() + WEBHOOK_SECONDS
    while time.monotonic() < until and any(one.id not in load.receiver.completed for one in load.sent):
        time.sleep(0.2)


def count(load: Load, may_fail: str | None = None) -> dict[str, int]:
    """The columns of the table; a failure is unexplained unless its code is the one that the fault may
    cause."""
    ends = [one.ended["status"] if one.ended else "stuck" for one in load.sent]
    wrong = [
        one
        for one in load.sent
        if one.ended and one.ended["status"] == "succeeded" and one.ended["output"] != one.text
    ]
    return {
        "accepted": len(load.sent),
        **{name: ends.count(name) for name in ("succeeded", "failed", "canceled", "lost", "stuck")},
        "unexplained": sum(
            one.ended["status"] == "failed" and one.ended.get("error_code") != may_fail
            for one in load.sent
            if one.ended
        ),
        "canceled by nobody": sum(
            one.ended["status"] == "canceled" and not one.canceled for one in load.sent if one.ended
        ),
        "refused": load.refused,
        "doubled": load.doubled,
        "cross-wired": len(wrong),
        "webhooks missing": sum(one.id not in load.receiver.completed for one in load.sent),
        "unsigned": load.receiver.unsigned,
        "changed": load.receiver.changed,
        "trapped": load.receiver.trapped,
    }


def flow(load: Load, broken_at: float, after: float) -> float | None:
    """Seconds from the fault until a prediction that was sent after it had succeeded (by the platform's own
    times)."""
    later = [one for one in load.sent if one.at > after and one.ended and one.ended["status"] == "succeeded"]
    if not later:
        return None
    return min(one.at - broken_at + one.ended["metrics"]["total_time"] for one in later if one.ended)


def run_cells(names: list[str], seconds: float) -> tuple[list[Row], list[psutil.Process]]:
    """What each fault did to one platform, and the processes that it left behind when it was stopped."""
    folder, family, rows = Path(tempfile.mkdtemp(prefix="lovage-chaos-")), set[psutil.Process](), list[Row]()
    with terminable(), own_disk(folder):
        try:
            platform = start(folder)
            family |= family_of(platform)
            for name in names:
                rows.append(run_cell(name, platform, seconds))
                print(f"{name}: {rows[-1].verdict if rows[-1].good else rows[-1].counts}", flush=True)
            family |= family_of(platform)
        finally:
            stop(folder)
        _, left = psutil.wait_procs(family, timeout=20)
    remove(folder, good=not left and all(row.good for row in rows))
    return rows, left


def family_of(platform: Platform) -> set[psutil.Process]:
    """All that `lovage up` has started; nothing when it is gone itself."""
    try:
        return set(psutil.Process(platform.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def show(rows: list[Row], left: list[psutil.Process]) -> None:
    table = Table("fault", *COLUMNS, "seconds to flow", "")
    for row in rows:
        seconds = "-" if row.flow is None else f"{row.flow:.1f}"
        table.add_row(row.name, *(str(row.counts[name]) for name in COLUMNS), seconds, row.verdict)
    Console(width=200).print(table)
    print(f"processes left behind after `lovage down`: {len(left)}")


def _chosen(cells: str) -> list[str]:
    """The names, which may have commas themselves."""
    names = [cells] if cells in CELLS else cells.split(",")
    return [name for name in names if name]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--cells", default="", help="comma-separated faults; default: all")
    parser.add_argument("--times", type=int, default=1, help="how often the whole table is run")
    parser.add_argument("--seconds", type=float, default=7.0, help="load for each fault")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CELLS))
        return 0
    wanted = _chosen(arguments.cells) or list(CELLS)
    if unknown := sorted(set(wanted) - set(CELLS)):
        print(f"no such fault: {', '.join(unknown)} (see --list)", file=sys.stderr)
        return 2
    rows, left = run_cells(wanted * arguments.times, arguments.seconds)
    show(rows, left)
    return 1 if left or not all(row.good for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
