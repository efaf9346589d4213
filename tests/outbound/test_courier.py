"""Deliveries: signed, tried again with the same id and body, given up, seen and sent again."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from dripping import dripping
from standardwebhooks.webhooks import Webhook
from waiting import eventually

from app.coalesce import GROUP_BYTES
from app.db import deliveries as table
from app.db.session import Database
from app.db.tables import UserRow
from app.domain import webhooks
from app.domain.deliveries import DeliveryResult
from app.outbound.addresses import AddressPolicy
from app.outbound.webhook_sender import Sender
from app.outbound.webhook_signing import headers, new_secret
from app.worker.courier import OPEN_PER_HOST, Courier, platform_secret


class Receiver:
    """Answers from a list (the last for ever), and keeps what came."""

    def __init__(self, answers: list[int], delay: float = 0.0, extra: dict[str, str] | None = None) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.open = self.most_open = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with lock:
                    outer.open += 1
                    outer.most_open = max(outer.most_open, outer.open)
                body = self.rfile.read(int(self.headers["content-length"]))
                time.sleep(delay)
                with lock:
                    outer.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                    status = answers[min(len(outer.got), len(answers)) - 1]
                    outer.open -= 1
                self.send_response(status)
                for name, value in (extra or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender(policy=AddressPolicy(allow_private=True), seconds=1.0, connections=16, user_agent="test")
    yield made
    made.close()


@pytest.fixture
def courier(database: Database, sender: Sender) -> Courier:
    return Courier(database, sender, platform_secret("secret"), 16)


def put(
    database: Database,
    url: str,
    *ids: str,
    user_id: Any = None,
    event: str = "completed",
    body: bytes = b'{"id":"p"}',
) -> None:
    rows = [
        {
            "id": one,
            "prediction_id": "p" * 26,
            "user_id": user_id,
            "event": event,
            "url": url,
            "body": body,
        }
        for one in ids
    ]
    with database.unit() as session:
        table.insert_many(session, rows)
        table.insert_many(session, rows)  # again: left alone


def deliver_due(courier: Courier) -> int:
    """Sends what is due and waits for it. Returns how many attempts that were."""
    attempts = 0
    while sending := courier._send_due():
        attempts += len(sending)
        for each in sending:
            each.result()
    eventually(lambda: not courier.open)
    return attempts


def due_now(database: Database) -> None:
    with database.unit() as session:
        session.connection().exec_driver_sql(
            "UPDATE deliveries SET next_at = now() WHERE next_at IS NOT NULL"
        )


def stored(database: Database) -> list[Any]:
    with database.unit() as session:
        page = table.by_prediction(session, "p" * 26, cursor=None, limit=100)
        return [(delivery, delivery.attempts) for delivery in page.results]


def test_a_delivery_is_signed_with_its_users_secret(database: Database, courier: Courier) -> None:
    secret, receiver = new_secret(), Receiver([200])
    with database.unit() as session:
        user = UserRow(email="a@b.test", username="a", password_hash="x", webhook_secret=secret)
        session.add(user)
        session.flush()
        user_id = user.id
    put(database, receiver.url, "msg_1", user_id=user_id)
    assert deliver_due(courier) == 1
    [(head, body)] = receiver.got
    Webhook(secret).verify(body, head)
    assert head["webhook-id"] == "msg_1"
    assert deliver_due(courier) == 0, "it is delivered; a late message sends nothing"
    assert len(receiver.got) == 1


@pytest.mark.parametrize(("hours", "signatures"), [(1, 2), (-1, 1)])
def test_a_secret_before_a_rotation_signs_too_until_its_time_has_passed(
    database: Database, courier: Courier, hours: int, signatures: int
) -> None:
    current, previous, receiver = new_secret(), new_secret(), Receiver([200])
    until = datetime.now(UTC) + timedelta(hours=hours)
    with database.unit() as session:
        user = UserRow(
            email="a@b.test",
            username="a",
            password_hash="x",
            webhook_secret=current,
            previous_webhook_secret=previous,
            previous_webhook_secret_until=until,
        )
        session.add(user)
        session.flush()
        user_id = user.id
    put(database, receiver.url, "msg_1", user_id=user_id)
    assert deliver_due(courier) == 1
    [(head, body)] = receiver.got
    assert len(head["webhook-signature"].split(" ")) == signatures
    for secret in (current, previous)[:signatures]:
        Webhook(secret).verify(body, head)


def test_failed_tries_keep_id_and_body_until_one_succeeds(database: Database, courier: Courier) -> None:
    receiver = Receiver([500, 503, 200])
    put(database, receiver.url, "msg_1")
    for _ in range(3):
        assert deliver_due(courier) == 1
        due_now(database)
    assert {(head["webhook-id"], body) for head, body in receiver.got} == {("msg_1", b'{"id":"p"}')}
    for head, body in receiver.got:
        Webhook(platform_secret("secret")).verify(body, head)
    [(row, attempts)] = stored(database)
    assert [attempt.status_code for attempt in attempts] == [500, 503, 200]
    assert row.delivered_at is not None
    assert row.next_at is None


@pytest.mark.parametrize(("status", "said"), [(301, "redirects"), (404, "404")])
def test_anything_but_2xx_is_a_failure_that_is_tried_later(
    database: Database, courier: Courier, status: int, said: str
) -> None:
    receiver = Receiver([status], extra={"location": "http://127.0.0.1:1/"})
    put(database, receiver.url, "msg_1")
    assert deliver_due(courier) == 1
    [(row, [attempt])] = stored(database)
    assert said in attempt.error
    assert row.next_at is not None


def test_410_ends_the_tries(database: Database, courier: Courier) -> None:
    put(database, Receiver([410]).url, "msg_1")
    deliver_due(courier)
    [(row, _)] = stored(database)
    assert row.given_up_at is not None
    assert row.next_at is None


def test_a_slow_or_absent_receiver_is_recorded(database: Database, courier: Courier) -> None:
    put(database, Receiver([200], delay=3).url, "msg_slow")
    put(database, "http://127.0.0.1:1/", "msg_gone")
    put(database, "http://no-such-host.invalid/", "msg_unknown")
    assert deliver_due(courier) == 3
    assert all(attempts[0].error.startswith("No answer") for _, attempts in stored(database))


@pytest.mark.alone
def test_a_slow_host_holds_its_few_and_another_does_not_wait(database: Database, sender: Sender) -> None:
    slow, quick = Receiver([200], delay=0.5), Receiver([200])
    put(database, slow.url, *(f"msg_s{n:02}" for n in range(40)))
    courier = Courier(database, sender, platform_secret("secret"), 16)
    courier.start()
    try:
        eventually(lambda: slow.open == OPEN_PER_HOST)
        for n in range(5):
            put(database, quick.url, f"msg_q{n}")
            courier.on_message(f"msg_q{n}")
            began = time.monotonic()
            eventually(lambda n=n: len(quick.got) == n + 1)
            assert time.monotonic() - began < 0.4, "it waited for the slow receiver"
        assert slow.most_open == OPEN_PER_HOST
        with database.unit() as session:
            leased = session.connection().exec_driver_sql(
                "SELECT count(*) FROM deliveries WHERE leased_until > now() AND url = %s", (slow.url,)
            )
            assert leased.scalar_one() <= OPEN_PER_HOST, (
                "what waits for its turn must not run out of its lease"
            )
        eventually(lambda: len(slow.got) == 40)
        assert len({head["webhook-id"] for head, _ in slow.got}) == 40
    finally:
        courier.close()


def test_a_burst_for_one_host_does_not_hide_the_others(database: Database) -> None:
    put(database, "http://one.test/", *(f"msg_{n:04}" for n in range(table.LOOKED_AT + 50)))
    put(database, "http://two.test/x", "msg_two")
    with database.unit() as session:
        first = table.take_due(session, 64, table.OpenDeliveries({}, {}, 64), OPEN_PER_HOST, 60)
        full = table.OpenDeliveries({"one.test": OPEN_PER_HOST}, {"": OPEN_PER_HOST}, 59)
        second = table.take_due(session, 64, full, OPEN_PER_HOST, 60)
    assert len(first) == OPEN_PER_HOST
    assert [delivery.id for delivery in second] == ["msg_two"]


def test_a_host_is_one_however_its_name_is_written(database: Database) -> None:
    for number, host in enumerate(("Evil.test", "EVIL.test", "evil.TEST")):
        put(database, f"http://{host}/", *(f"msg_{number}{n}" for n in range(4)))
    with database.unit() as session:
        first = table.take_due(session, 64, table.OpenDeliveries({}, {}, 64), OPEN_PER_HOST, 60)
        now_open = table.OpenDeliveries({"evil.test": OPEN_PER_HOST}, {"": OPEN_PER_HOST}, 59)
        assert table.take_due(session, 64, now_open, OPEN_PER_HOST, 60) == []
    assert len(first) == OPEN_PER_HOST


def test_large_bodies_are_leased_a_few_at_once_and_one_that_is_larger_alone(database: Database) -> None:
    put(database, "http://one.test/", "msg_a", body=b"x" * (GROUP_BYTES + 1))
    for name in "bcd":
        put(database, f"http://{name}.test/", f"msg_{name}", body=b"x" * (GROUP_BYTES // 2))
    groups = []
    with database.unit() as session:
        for _ in range(4):
            leased = table.take_due(session, 64, table.OpenDeliveries({}, {}, 64), OPEN_PER_HOST, 60)
            groups.append(sorted(delivery.id for delivery in leased))
    assert groups == [["msg_a"], ["msg_b", "msg_c"], ["msg_d"], []]


def test_users_take_turns_and_nobody_has_more_open_than_is_free(database: Database) -> None:
    ada, bob = uuid4(), uuid4()
    put(database, "http://ada.test/", *(f"msg_a{n:02}" for n in range(40)), user_id=ada)
    put(database, "http://bob.test/", *(f"msg_b{n:02}" for n in range(40)), user_id=bob)
    with database.unit() as session:
        both = table.take_due(session, 10, table.OpenDeliveries({}, {}, 32), 99, 60)
        now_open = table.OpenDeliveries({}, {str(ada): 20}, 12)
        rest = table.take_due(session, 64, now_open, 99, 60)
    assert Counter(delivery.user_id for delivery in both) == {ada: 5, bob: 5}
    assert {delivery.user_id for delivery in rest} == {bob}
    assert len(rest) == 6, "as many as are free then"


def test_an_honest_webhook_beside_32_dripping_ones_arrives_at_once(database: Database) -> None:
    """Seven hosts, so that the bound for each of them is not what helps. A lease outlives its call."""
    mallory, ada, honest = uuid4(), uuid4(), Receiver([200])
    sender = Sender(policy=AddressPolicy(allow_private=True), seconds=5.0, connections=64, user_agent="test")
    courier = Courier(database, sender, platform_secret("secret"), 32)
    with ExitStack() as drips:
        for host in range(7):
            url = drips.enter_context(dripping(b"HTTP/1.1 200 OK\r\nx: ", b"a"))
            put(database, url, *(f"msg_{host}{n}" for n in range(6)), user_id=mallory)
        courier.start()
        try:
            eventually(lambda: courier.open == 16)
            put(database, honest.url, "msg_honest", user_id=ada)
            began = time.monotonic()
            courier.on_message("msg_honest")
            eventually(lambda: honest.got)
            assert time.monotonic() - began < 2.0
            with database.unit() as session:
                shortest = session.connection().exec_driver_sql(
                    "SELECT extract(epoch FROM min(leased_until) - now()) FROM deliveries"
                )
                assert shortest.scalar_one() > sender.seconds, "it would be sent by another courier as well"
        finally:
            drips.close()
            courier.close()
            sender.close()


def test_an_answers_head_counts_though_its_body_never_ends(database: Database, courier: Courier) -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x") as url:
        put(database, url, "msg_1")
        assert deliver_due(courier) == 1
    [(row, [attempt])] = stored(database)
    assert (attempt.status_code, attempt.error) == (200, None)
    assert row.delivered_at is not None


def test_a_missed_message_delays_a_webhook_by_a_second(database: Database, sender: Sender) -> None:
    receiver = Receiver([200])
    courier = Courier(database, sender, platform_secret("secret"), 8)
    courier.start()
    try:
        put(database, receiver.url, "msg_1")
        eventually(lambda: len(receiver.got) == 1)
    finally:
        courier.close()


def test_two_couriers_never_send_one_delivery_twice(database: Database, sender: Sender) -> None:
    receiver = Receiver([200], delay=0.05)
    put(database, receiver.url, *(f"msg_{n}" for n in range(10)))
    couriers = [Courier(database, sender, platform_secret("secret"), 8) for _ in range(2)]
    threads = [threading.Thread(target=deliver_due, args=(courier,)) for courier in couriers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(head["webhook-id"] for head, _ in receiver.got) == sorted(f"msg_{n}" for n in range(10))


def test_a_delivery_can_be_sent_again(database: Database, courier: Courier) -> None:
    receiver = Receiver([200])
    put(database, receiver.url, "msg_1", "msg_2")
    deliver_due(courier)
    with database.unit() as session:
        assert table.redeliver(session, "p" * 26, "msg_1") == ["msg_1"]
        assert table.redeliver(session, "another") == []
    deliver_due(courier)
    assert [head["webhook-id"] for head, _ in receiver.got].count("msg_1") == 2


def test_two_keys_give_two_signatures_and_each_verifies() -> None:
    keys = [new_secret(), new_secret()]
    head = headers("msg_1", b"{}", keys, time.time())
    for key in keys:
        Webhook(key).verify(b"{}", head)
    assert all("_" not in key.removeprefix("whsec_") and "-" not in key for key in keys)


def test_the_schedule_of_a_completed_webhook_spans_about_a_day() -> None:
    delays = [webhooks.next_delay(webhooks.SCHEDULE["completed"], tries, 500) for tries in range(1, 9)]
    assert 20 * 3600 < sum(delay or 0 for delay in delays) < 36 * 3600
    assert webhooks.next_delay(webhooks.SCHEDULE["completed"], 9, 500) is None
    assert webhooks.next_delay(webhooks.SCHEDULE["output"], 2, None) is None


@pytest.mark.parametrize(
    ("status", "retry_after", "least"),
    [(429, 60.0, 60), (503, 1e9, 86_400), (500, 3600.0, 5), (None, 3600.0, 5)],
)
def test_retry_after_is_honoured_when_asked_to_slow_down(
    status: int | None, retry_after: float, least: float
) -> None:
    assert webhooks.next_delay(webhooks.SCHEDULE["completed"], 1, status, retry_after) == least


def test_filters_name_the_events() -> None:
    assert {event for event in webhooks.SCHEDULE if webhooks.wants(None, event)} == {"output", "completed"}
    assert webhooks.wants(["start"], "start")
    assert not webhooks.wants(["start"], "completed")
    assert webhooks.delivery_id("p", "completed") == "msg_p_completed"


def test_a_delivery_that_is_to_be_sent_again_while_a_try_is_under_way_is_sent_again(
    database: Database, courier: Courier
) -> None:
    receiver = Receiver([200])
    put(database, receiver.url, "msg_1")
    with database.unit() as session:
        (under_way,) = table.take_due(session, 1, table.OpenDeliveries({}, {}, 1), 1, lease_seconds=60)
    with database.unit() as session:
        assert table.redeliver(session, "p" * 26, "msg_1") == ["msg_1"]
    with database.unit() as session:
        table.record(session, [DeliveryResult(under_way.id, 200, None, 0.1, None)])
    deliver_due(courier)
    assert [head["webhook-id"] for head, _ in receiver.got] == ["msg_1"]
    with database.unit() as session:
        (delivery,) = table.by_prediction(session, "p" * 26, cursor=None, limit=10).results
    assert delivery.delivered_at is not None
    assert len(delivery.attempts) == 2
