"""The platform's own pages, and the OpenAPI document."""

import time

import httpx
from databases import make_database

from app.db import migrate
from app.main import create_app


def test_the_first_page_says_what_this_is(anonymous, api):
    page = anonymous.get("/").json()
    assert page["name"] == "Lovage"
    for link in page["links"].values():
        if not link.endswith("/v1/models"):
            assert anonymous.get(link).status_code == 200, link


def test_ready_names_a_missing_worker_and_stays_in_rotation(anonymous):
    answer = anonymous.get("/ready")
    assert answer.status_code == 200, "what is accepted now waits for a worker"
    assert answer.json()["checks"] == {"database": "ok", "redis": "ok", "workers": "no live worker"}
    assert anonymous.get("/livez").status_code == anonymous.get("/health").status_code == 200


def test_ready_with_a_worker(anonymous, worker):
    assert anonymous.get("/ready").json() == {
        "status": "ready",
        "checks": {"database": "ok", "redis": "ok", "workers": "ok"},
        "workers": ["cpu@testhost"],
    }


def test_a_dead_database_and_redis_are_503_within_3_seconds(start_server):
    dead = start_server(database_url="postgresql://x:y@127.0.0.1:1/z", redis_url="redis://127.0.0.1:1/0")
    began = time.monotonic()
    answer = httpx.get(f"{dead.url}/ready")
    assert (answer.status_code, answer.json()["checks"]["redis"]) == (503, "cannot be reached")
    created = httpx.post(f"{dead.url}/v1/predictions", json={}, headers={"Authorization": "Bearer lov_x"})
    assert (created.status_code, created.headers["retry-after"]) == (503, "2")
    assert httpx.get(f"{dead.url}/health").status_code == 200
    assert time.monotonic() - began < 6


def test_before_the_migration_ready_says_so_and_calls_are_503_with_a_sentence(servers, start_server):
    url = make_database(servers.database_url)
    early = start_server(database_url=url)
    with httpx.Client(base_url=early.url, headers={"Authorization": "Bearer lov_x"}) as client:
        answer = client.get("/ready")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "lovage migrate" in answer.json()["checks"]["database"]
        created = client.post("/v1/predictions", json={"version": "demo/echo", "input": {}})
        assert (created.status_code, created.json()["code"]) == (503, "database_refused")
        assert "which `lovage migrate` makes" in created.json()["detail"]
        migrate.upgrade(url, "0018")
        assert client.get("/ready").status_code == 503, "a column of this release is still missing"
        migrate.upgrade(url)
        assert client.get("/ready").status_code == 200
        assert client.post("/v1/predictions", json={}).status_code == 401


def test_status_tells_everybody_totals_and_operators_the_rest(anonymous, ada, admin, echo, worker):
    ada.run("ada/echo", seconds=1)
    public = anonymous.get("/status").json()
    assert (public["live_workers"], public["devices"], public["workers"], public["queues"]) == (
        1,
        {"cpu": 1},
        None,
        None,
    )
    assert ada.http.get("/status").json()["workers"] is None
    full = admin.http.get("/status").json()
    assert full["workers"][0]["device"] == "cpu"
    assert isinstance(full["queues"], list)


OTHERS = {"OpenAI", "Rerank", "TEI", "Ollama", "Anthropic", "OIP"}  # errors as these protocols have them


def test_every_operation_is_documented(api_settings):
    document = create_app(api_settings).openapi()
    assert document["openapi"].startswith("3.1")
    ids = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            ids.append(operation["operationId"])
            assert operation.get("tags"), where
            assert operation.get("summary"), where
            assert operation.get("description"), where
            answers = operation["responses"]
            assert any(code.startswith("2") for code in answers), where
            for code, answer in answers.items():
                if code.startswith(("4", "5")) and path not in ("/ready", "/readyz"):
                    is_other = OTHERS & set(operation["tags"])
                    kind = "application/json" if is_other else "application/problem+json"
                    assert list(answer["content"]) == [kind], f"{where} {code}"
            if (
                operation.get("security", document["security"])
                and path.startswith("/v1/")
                and "auth" not in path
            ):
                assert "401" in answers, where
    assert len(ids) == len(set(ids))
    assert {"predictions.create", "models.list", "files.create", "streams.read"} <= set(ids)
    assert "PredictionIn" in document["components"]["schemas"]


def test_another_origin_may_call_when_allowed(start_server):
    import httpx

    server = start_server(cors_origins="https://app.example.com")
    answer = httpx.get(f"{server.url}/health", headers={"Origin": "https://app.example.com"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"


def test_probes_answer_people_line_by_line(anonymous) -> None:
    assert anonymous.get("/livez?verbose").text == "[+]process ok\nlivez check passed\n"
    shown = anonymous.get("/readyz?verbose")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert shown.text.splitlines()[:2] == ["[+]database ok", "[+]redis ok"]
    assert shown.text.endswith("[-]workers no live worker\nreadyz check passed\n")
    assert anonymous.get("/readyz").json() == anonymous.get("/ready").json()
