"""`/metrics` of the API: what happened is counted, and only those who may read it do."""

import threading
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from waiting import eventually
from websockets.sync.client import connect as dial

from app.db.session import Database, connect
from app.services.platform.metrics import may_scrape

TOKEN = "a-token-for-prometheus"


def read(answer: httpx.Response) -> dict[str, Any]:
    """(name, sorted labels) -> value."""
    assert answer.status_code == 200, answer.text
    families = text_string_to_metric_families(answer.text)
    return {
        _key(sample.name, sample.labels): sample.value for family in families for sample in family.samples
    }


def _key(name: str, labels: dict[str, str]) -> str:
    inner = ",".join(f"{label}={value}" for label, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name


def test_requests_and_predictions_are_counted(ada, admin, echo, worker) -> None:
    before = read(admin.http.get("/metrics"))
    for _ in range(3):
        body = {"version": "ada/echo", "input": {"text": "x"}}
        ended = ada.http.post("/v1/predictions", json=body, headers={"Prefer": "wait"}).json()
        assert ended["status"] == "succeeded"
    ada.http.get(f"/v1/predictions/{ended['id']}").raise_for_status()
    assert ada.http.get("/v1/predictions/" + "0" * 26).status_code == 404
    after = read(admin.http.get("/metrics"))

    def added(name: str) -> float:
        return float(after.get(name, 0) - before.get(name, 0))

    route = "/v1/predictions/{prediction_id}"
    assert added("lovage_http_requests_total{method=POST,route=/v1/predictions,status=201}") == 3
    assert added("lovage_http_request_seconds_count{method=POST,route=/v1/predictions}") == 3
    assert added(f"lovage_http_requests_total{{method=GET,route={route},status=200}}") == 1
    assert added(f"lovage_http_requests_total{{method=GET,route={route},status=404}}") == 1
    assert added("lovage_predictions_accepted_total{source=api}") == 3
    assert added("lovage_predictions_ended_total{status=succeeded}") == 3, (
        "the hand worker is of this process"
    )
    assert after["process_resident_memory_bytes"] > 0


def test_those_who_follow_predictions_are_counted(api, ada, admin, echo) -> None:
    def readers(kind: str) -> float:
        return float(read(admin.http.get("/metrics"))[f"lovage_readers{{kind={kind}}}"])

    def create() -> None:
        body = {"version": "ada/echo", "input": {"text": "x"}}
        httpx.post(
            f"{api.url}/v1/predictions",
            json=body,
            headers={"Prefer": "wait=5", **ada.http.headers},
            timeout=20,
        )

    waiting, before = threading.Thread(target=create), readers("websocket")
    waiting.start()
    header = {"Authorization": f"Bearer {ada.key}"}
    with dial(api.url.replace("http", "ws") + "/ws/counted", additional_headers=header) as socket:
        socket.recv(timeout=10)
        assert readers("websocket") == before + 1
        eventually(lambda: readers("wait"), 4)
    waiting.join(20)
    assert readers("wait") == 0


def test_what_callers_invent_makes_no_series(admin, anonymous) -> None:
    for number in range(20):
        anonymous.get(f"/made/up/{number}")
        anonymous.request(f"MADE{number}", "/")
    after = read(admin.http.get("/metrics"))
    requests = [name for name in after if name.startswith("lovage_http_requests_total")]
    assert not [name for name in requests if "made" in name.lower()]
    assert after["lovage_http_requests_total{method=GET,route=other,status=404}"] >= 20


def test_a_failure_of_ours_is_counted_as_one(start_server, admin) -> None:
    server = start_server()
    server.services.catalogue.page = None
    before = read(httpx.get(f"{server.url}/metrics", headers=admin.http.headers))
    assert httpx.get(f"{server.url}/v1/models", headers=admin.http.headers).status_code == 500
    after = read(httpx.get(f"{server.url}/metrics", headers=admin.http.headers))
    name = "lovage_http_requests_total{method=GET,route=/v1/models,status=500}"
    assert after[name] - before.get(name, 0) == 1


def test_the_whole_platform_is_read_from_the_database(start_server, ada, admin, echo, database) -> None:
    for _ in range(3):
        ada.run("ada/echo", text="waits")
    with database.unit() as session:
        session.execute(
            text(
                "UPDATE predictions SET created_at = now() - interval '90 s', queue = 'cuda' WHERE id = "
                "(SELECT min(id) FROM predictions)"
            )
        )
        session.execute(
            text(
                "INSERT INTO workers (id, host, pid, device, device_class, device_facts, queues, slots) "
                "VALUES (gen_random_uuid(), 'h', 1, 'cpu', 'cpu', '{}', '{cpu}', 7)"
            )
        )
        session.execute(
            text(
                "INSERT INTO deliveries (id, prediction_id, event, url, body, tries, next_at) VALUES "
                "('a', 'p', 'completed', 'http://x', '', 2, now() - interval '30 s'), "
                "('b', 'p', 'completed', 'http://x', '', 0, now() + interval '1 h'), "
                "('c', 'p', 'completed', 'http://x', '', 1, NULL)"
            )
        )
    server = start_server()  # a process that has not looked yet
    with httpx.Client(base_url=server.url, headers=admin.http.headers) as http:
        values = read(http.get("/metrics"))
    assert values["lovage_database_up"] == 1
    assert values["lovage_waiting{queue=cuda}"] == 1
    assert sum(value for name, value in values.items() if name.startswith("lovage_waiting{")) == 3
    assert 90 <= values["lovage_waiting_oldest_seconds{queue=cuda}"] < 150
    assert values["lovage_running"] == 0
    assert values["lovage_workers{device_class=cpu}"] == 1
    assert values["lovage_slots{device_class=cpu}"] == 7
    assert values["lovage_webhooks_pending{state=again}"] == 1
    assert values["lovage_webhooks_pending{state=new}"] == 1
    assert 30 <= values["lovage_webhooks_overdue_seconds"] < 90


def test_a_database_that_is_away_is_shown_beside_the_rest(start_server, admin) -> None:
    server = start_server(metrics_token=TOKEN)
    server.services.metrics._database = Database(connect("postgresql://nobody:x@127.0.0.1:1/none"))
    values = read(httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}))
    assert values["lovage_database_up"] == 0
    assert "lovage_running" not in values
    assert "lovage_readers{kind=stream}" in values


def test_refusals_by_a_rate_limit_are_counted(start_server, make_person, echo) -> None:
    server = start_server(rate_limit_calls="2/minute", metrics_token=TOKEN)
    eve = make_person("eve", server=server)
    scrape = {"Authorization": f"Bearer {TOKEN}"}
    before = read(httpx.get(f"{server.url}/metrics", headers=scrape))
    statuses = [eve.http.get("/v1/account").status_code for _ in range(5)]
    assert 429 in statuses
    after = read(httpx.get(f"{server.url}/metrics", headers=scrape))
    name = "lovage_rate_limited_total{policy=calls}"
    assert after[name] - before.get(name, 0) == statuses.count(429)


def test_they_are_for_operators(ada, admin, anonymous) -> None:
    assert admin.http.get("/metrics").status_code == 200
    refused = ada.http.get("/metrics")
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert anonymous.get("/metrics").status_code == 401
    assert anonymous.get("/metrics", headers={"Authorization": "Bearer"}).status_code == 401


def test_a_token_lets_prometheus_in(start_server, ada) -> None:
    server = start_server(metrics_token=TOKEN)
    with httpx.Client(base_url=server.url) as http:
        assert http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert http.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
        assert http.get("/metrics").status_code == 401
        plain = http.get("/v1/models", headers={"Authorization": f"Bearer {TOKEN}"})
        assert plain.status_code == 401, "it opens nothing else"


def test_open_metrics_are_given_to_those_who_accept_them(admin) -> None:
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    answer = admin.http.get("/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert any(family.name == "lovage_http_requests" for family in open_metrics(answer.text))


def test_they_can_be_switched_off(start_server, admin) -> None:
    server = start_server(metrics=False)
    answer = httpx.get(f"{server.url}/metrics", headers=admin.http.headers)
    assert answer.status_code == 404
    assert "METRICS" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("token", "header", "may"),
    [
        ("", None, False),
        ("", "Bearer ", False),
        ("abc", "Bearer abc", True),
        ("abc", "bearer abc", True),
        ("abc", "abc", False),
        ("abc", "Bearer abcd", False),
        ("abc", "Bearer äöü", False),
    ],
)
def test_only_the_very_token_may_scrape(token: str, header: str | None, may: bool) -> None:
    assert may_scrape(token, header) is may
