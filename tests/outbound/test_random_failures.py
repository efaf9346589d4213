"""A receiver that fails at random is told of everything in the end: the small form of `python -m
scripts.chaos.webhooks`."""

import json

import pytest
from waiting import eventually

from app.db import deliveries as table
from app.db.session import Database
from app.outbound.addresses import AddressPolicy
from app.outbound.webhook_sender import Sender
from app.worker.courier import Courier, platform_secret
from scripts.chaos.webhooks import Tally, receiver, report

MANY = 300


def put(database: Database, url: str) -> set[str]:
    names = {f"{n:026}" for n in range(MANY)}
    with database.unit() as session:
        table.insert_many(
            session,
            [
                {
                    "id": f"msg_{one}_completed",
                    "prediction_id": one,
                    "user_id": None,
                    "event": "completed",
                    "url": url,
                    "body": json.dumps({"id": one, "status": "succeeded"}).encode(),
                }
                for one in names
            ],
        )
    return names


def test_each_of_300_arrives_signed_and_unchanged_though_a_third_of_the_tries_fail(
    database: Database,
) -> None:
    tally = Tally(secret=platform_secret("secret"))
    sender = Sender(policy=AddressPolicy(allow_private=True), seconds=5.0, connections=16, user_agent="test")
    courier = Courier(database, sender, platform_secret("secret"), 16, schedule=[0.05] * 30)
    with receiver(tally) as url:
        names = put(database, url)
        courier.start()
        try:
            eventually(lambda: tally.done == names)
        finally:
            courier.close()
    assert (tally.unsigned, tally.changed) == (0, 0)
    assert sum(tally.tries.values()) > MANY, "some were tried again"
    with database.unit() as session:
        left = (
            session.connection()
            .exec_driver_sql("SELECT count(*) FROM deliveries WHERE delivered_at IS NULL")
            .scalar_one()
        )
    assert left == 0


@pytest.mark.parametrize(
    ("missing", "unsigned", "changed", "told"),
    [(1, 0, 0, 100.0), (0, 1, 0, 100.0), (0, 0, 1, 100.0), (0, 0, 0, 94.0)],
)
def test_the_report_fails_on_each_breach(missing: int, unsigned: int, changed: int, told: float) -> None:
    tally = Tally(unsigned=unsigned, changed=changed)
    assert not report(10, tally, 10, missing, (100.0, told, 100.0))
    assert report(10, Tally(), 10, 0, (100.0, 96.0, 100.0))
