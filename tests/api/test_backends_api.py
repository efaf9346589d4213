"""Backends over the API: registered, tried out, what they serve as models."""

from collections.abc import Iterator
from typing import Any

import pytest
from api_people import Person
from fake_upstream import FakeUpstream
from sqlalchemy import text


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    started = FakeUpstream().start()
    yield started
    started.stop()


def add(person: Person, upstream: FakeUpstream, **more: Any) -> dict[str, Any]:
    body = {"name": "gpu", "kind": "openai", "url": upstream.url, **more}
    answer = person.http.post("/v1/backends", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_backend_is_added_listed_changed_and_removed(
    admin: Person, upstream: FakeUpstream, database: Any
) -> None:
    added = add(admin, upstream, credential="sk-secret", max_concurrency=7)
    assert added["has_credential"]
    assert added["max_concurrency"] == 7
    assert "sk-secret" not in str(added)
    with database.unit() as session:
        assert b"sk-secret" not in bytes(
            session.execute(text("SELECT credential FROM backends")).scalar_one()
        )
    assert [each["name"] for each in admin.http.get("/v1/backends").json()["results"]] == ["gpu"]
    changed = admin.http.patch("/v1/backends/gpu", json={"draining": True, "credential": ""}).json()
    assert changed["draining"]
    assert not changed["has_credential"]
    assert admin.http.get("/status").json()["backends"] == {"gpu": "unknown"}
    stats = admin.http.get("/v1/backends/gpu/stats").json()
    assert stats["state"] == "unknown"
    assert "no gateway worker" in stats["reason"]
    assert admin.http.delete("/v1/backends/gpu").status_code == 204
    assert admin.http.get("/v1/backends/gpu").status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "Bad Name"}, "name"),
        ({"kind": "abacus"}, "kind"),
        ({"url": "ftp://host"}, "url"),
        ({"url": "http://user:pass@host"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"url": "http://host/v1?x=1"}, "url"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"credential": "two words"}, "credential"),
        ({"options": {"colour": "red"}}, "options.colour"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_is_wrong_with_a_backend_is_named(
    admin: Person, upstream: FakeUpstream, body: dict, field: str
) -> None:
    answer = admin.http.post(
        "/v1/backends", json={"name": "gpu", "kind": "openai", "url": upstream.url, **body}
    )
    assert answer.status_code == 422
    assert field in answer.json()["detail"]


def test_only_administrators_see_backends(ada: Person, admin: Person, upstream: FakeUpstream) -> None:
    add(admin, upstream)
    for method, path, body in (
        ("GET", "/v1/backends", None),
        ("GET", "/v1/backends/gpu", None),
        ("GET", "/v1/backends/gpu/stats", None),
        ("POST", "/v1/backends", {"name": "x", "kind": "openai", "url": "http://host"}),
        ("PATCH", "/v1/backends/gpu", {"draining": True}),
        ("POST", "/v1/backends/gpu/test", None),
        ("POST", "/v1/backends/gpu/sync", {}),
        ("DELETE", "/v1/backends/gpu", None),
    ):
        assert ada.http.request(method, path, json=body).status_code == 403, path
    version = {"source": "backend:gpu/tiny-chat"}
    assert ada.http.post("/v1/models", json={"name": "mine", "version": version}).status_code == 403


def test_a_name_is_taken_once(admin: Person, upstream: FakeUpstream) -> None:
    add(admin, upstream)
    answer = admin.http.post("/v1/backends", json={"name": "gpu", "kind": "openai", "url": upstream.url})
    assert answer.status_code == 409


def test_a_test_says_what_it_serves_or_why_not(admin: Person, upstream: FakeUpstream) -> None:
    add(admin, upstream)
    result = admin.http.post("/v1/backends/gpu/test").json()
    assert result["ok"]
    assert [(each["name"], each["task"]) for each in result["served"]] == [
        ("tiny-chat", "text-generation"),
        ("tiny-embed", "embedding"),
        ("tiny-rerank", "pair-scoring"),
    ]
    assert result["served"][0]["context_length"] == 4096
    add(admin, upstream, name="away", url="http://127.0.0.1:9")
    result = admin.http.post("/v1/backends/away/test").json()
    assert not result["ok"]
    assert "cannot be reached" in result["error"]


def test_what_it_serves_becomes_models_that_everybody_may_run(
    admin: Person, ada: Person, upstream: FakeUpstream
) -> None:
    upstream.switches.models = ("org/Tiny-Chat", "...")
    add(admin, upstream)
    results = admin.http.post("/v1/backends/gpu/sync", json={"visibility": "public"}).json()["results"]
    assert [(each["model"], each["is_new"]) for each in results] == [("gpu/tiny-chat", True), ("gpu/", False)]
    assert results[1]["error"]
    prediction = ada.run("gpu/tiny-chat", prompt="x", max_new_tokens=3)
    assert prediction["routing"]["queue"] == "backends"
    again = admin.http.post("/v1/backends/gpu/sync", json={"models": ["org/Tiny-Chat"]}).json()["results"]
    assert [each["version"] for each in again] == [results[0]["version"]]
    unknown = admin.http.post("/v1/backends/gpu/sync", json={"models": ["absent"]})
    assert unknown.status_code == 422
    refused = ada.http.post(
        "/v1/predictions", json={"version": results[0]["version"], "input": {"prompt": "x", "colour": 1}}
    )
    assert refused.status_code in (404, 422)


def test_an_input_that_the_backend_does_not_know_is_named_and_refused_of_a_strict_request(
    admin: Person, upstream: FakeUpstream
) -> None:
    add(admin, upstream)
    admin.http.post("/v1/backends/gpu/sync", json={"visibility": "public"})
    body = {"version": "gpu/tiny-chat", "input": {"prompt": "x", "colour": "red"}}
    answer = admin.http.post("/v1/predictions", json=body, headers={"Prefer": "handling=strict"})
    assert answer.status_code == 422
    assert "colour" in answer.json()["detail"]
    made = admin.http.post("/v1/predictions", json=body).json()
    assert "colour" in str(made["warnings"])
    assert made["input"].get("colour") is None


@pytest.mark.parametrize(
    ("version", "word"),
    [
        ({"source": "backend:absent/m"}, "names no backend"),
        ({"source": "backend:gpu"}, "must be"),
        ({"source": "backend:gpu/m", "runtime": "echo"}, "can only be"),
        ({"source": "backend:gpu/m", "task": "painting"}, "is not one that backends run"),
        ({"source": "backend:gpu/m", "config": {"strategy": "luck"}}, "strategy"),
        ({"source": "backend:gpu/m", "config": {"backends": [{"name": "absent"}]}}, "names no backend"),
    ],
)
def test_a_version_that_no_backend_could_run_is_refused(
    admin: Person, upstream: FakeUpstream, version: dict, word: str
) -> None:
    add(admin, upstream)
    answer = admin.http.post("/v1/models", json={"name": "mine", "version": version})
    assert answer.status_code == 422
    assert word in answer.json()["detail"]


def test_every_candidate_is_listed_with_why_it_was_not_chosen(admin: Person, upstream: FakeUpstream) -> None:
    add(admin, upstream)
    add(admin, upstream, name="other")
    for name in ("gpu", "other"):
        admin.http.post(f"/v1/backends/{name}/sync", json={})
    admin.http.patch("/v1/backends/other", json={"draining": True})
    by_task = admin.http.get("/v1/backends/select", params={"task": "embedding"}).json()
    assert by_task["backend"] == "", "no gateway worker runs"
    reasons = {each["backend"]: each["reason"] for each in by_task["candidates"]}
    assert reasons["other"] == "it is draining"
    assert reasons["gpu"].startswith("it is unknown")
    by_model = admin.http.get("/v1/backends/select", params={"model": "gpu/tiny-chat"}).json()
    assert [each["backend"] for each in by_model["candidates"]] == ["gpu"]
    assert by_model["strategy"] == "failover"
    assert admin.http.get("/v1/backends/select", params={"strategy": "luck"}).status_code == 422
    assert admin.http.get("/v1/backends/select", params={"model": "absent"}).status_code == 404
    taken = admin.http.post("/v1/backends", json={"name": "select", "kind": "openai", "url": upstream.url})
    assert taken.status_code == 422


def test_a_request_says_where_it_runs_as_far_as_its_version_allows(
    admin: Person, ada: Person, upstream: FakeUpstream
) -> None:
    add(admin, upstream)
    add(admin, upstream, name="cloud")
    config = {
        "backends": [{"name": "gpu"}, {"name": "cloud"}],
        "request_routing": {"strategies": ["round-robin"], "backends": True},
    }
    version = {"source": "backend:gpu/tiny-chat", "config": config}
    asked = {"name": "chat", "visibility": "public", "version": version}
    assert admin.http.post("/v1/models", json=asked).status_code == 201
    ada.model("echo")

    def post(model: str, routing: dict[str, Any]) -> Any:
        body = {"version": model, "input": {}, "routing": routing}
        return ada.http.post(
            "/v1/predictions", json=body | ({"input": {"prompt": "x"}} if "chat" in model else {})
        )

    wish = {"strategy": "round-robin", "backends": ["cloud"]}
    made = post("root/chat", wish)
    assert (made.status_code, made.json()["routing"]["requested"]) == (201, wish)
    for model, routing, field in (
        ("root/chat", {"strategy": "least-loaded"}, "routing.strategy"),
        ("root/chat", {"backends": ["tpu"]}, "routing.backends"),
        ("root/chat", {"backends": []}, "routing.backends"),
        ("root/chat", {"colour": "red"}, "routing.colour"),
        ("ada/echo", {"strategy": "round-robin"}, "routing"),
    ):
        refused = post(model, routing)
        assert (refused.status_code, field in refused.json()["detail"]) == (422, True), refused.text


def test_backends_are_a_set_under_one_name(admin: Person, ada: Person, upstream: FakeUpstream) -> None:
    add(admin, upstream)
    add(admin, upstream, name="away", url="http://127.0.0.1:9")
    options = {"strategy": "least-loaded", "weights": {"gpu": 2}}
    made = add(admin, upstream, name="pool", kind="hybrid", url="members:away,gpu", options=options)
    assert (made["kind"], made["state"]) == ("hybrid", "unknown")
    result = admin.http.post("/v1/backends/pool/test").json()
    assert (result["ok"], len(result["served"])) == (True, 3)
    synced = admin.http.post("/v1/backends/pool/sync", json={"visibility": "public"}).json()["results"]
    assert synced[0]["model"] == "pool/tiny-chat"
    assert ada.run("pool/tiny-chat", prompt="x")["routing"]["queue"] == "backends"
    chosen = admin.http.get("/v1/backends/select", params={"model": "pool/tiny-chat"}).json()
    assert chosen["strategy"] == "least-loaded"
    assert {each["backend"] for each in chosen["candidates"]} == {"gpu", "away"}
    for change, field in (
        ({"url": "members:pool,gpu"}, "url"),
        ({"url": "members:absent"}, "url"),
        ({"url": upstream.url}, "url"),
        ({"options": {"weights": {"absent": 1}}}, "options.weights"),
        ({"options": {"only_when": {"gpu": "now"}}}, "options.only_when"),
    ):
        refused = admin.http.patch("/v1/backends/pool", json=change)
        assert (refused.status_code, field in refused.json()["detail"]) == (422, True), refused.text
