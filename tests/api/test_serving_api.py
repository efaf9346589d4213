"""Which worker a prediction goes to, told and changed over HTTP."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import redis

from app.db.tables import WorkerRow
from app.events import channels
from app.events.model_commands import ModelCommand

Post = Callable[..., WorkerRow]


@pytest.fixture
def live(api: Any, database: Any, monkeypatch: pytest.MonkeyPatch) -> Post:
    """Writes the row of a live worker; the API looks at once."""
    monkeypatch.setattr("app.services.platform.fleet.KEEP_SECONDS", -1.0)

    def register(device: str = "cpu", **more: Any) -> WorkerRow:
        values = {
            "host": "h",
            "pid": 1,
            "device": device,
            "device_class": device.partition(":")[0],
            "device_facts": {},
            "queues": [f"{device}@h", device.partition(":")[0], "any"],
            "slots": 4,
            "running": 0,
            "models": [],
            **more,
        }
        row = WorkerRow(id=uuid4(), **values)
        with database.unit() as session:
            session.add(row)
        return row

    return register


def test_the_routing_of_a_model_has_every_workers_score(ada, echo, live) -> None:
    version = echo["latest_version"]["id"]
    live("cuda:0", running=4)
    live(
        "cuda:1",
        models=[{"version": version, "model": "ada/echo", "state": "ready", "in_use": 1, "pace": 0.25}],
    )
    live("cpu", queues=[])
    told = ada.http.get("/v1/models/ada/echo/routing").json()
    assert (told["version"], told["queue"], told["strategy"]) == (version, "cuda:1@h", "affinity")
    assert [one["worker"] for one in told["candidates"]] == ["cuda:1@h", "cuda:0@h", "cpu@h"]
    assert [one["score"] is None for one in told["candidates"]] == [False, False, True]
    assert told["candidates"][2]["reason"] == "it is stopping"
    assert (told["candidates"][0]["loaded"], told["candidates"][0]["seconds"]) == (True, 0.25)
    assert ada.run("ada/echo")["routing"]["queue"] == "cuda:1@h"
    other = ada.http.get("/v1/models/ada/echo/routing", params={"strategy": "least-loaded"}).json()
    assert other["strategy"] == "least-loaded"


def test_a_version_may_have_a_strategy_of_its_own(ada, live) -> None:
    ada.model("turns", config={"routing": "round-robin"})
    for device in ("cuda:0", "cuda:1"):
        live(device)
    made = [ada.run("ada/turns")["routing"] for _ in range(6)]
    assert sorted(one["queue"] for one in made) == ["cuda:0@h"] * 3 + ["cuda:1@h"] * 3
    assert {one["strategy"] for one in made} == {"round-robin"}


def test_what_a_version_requires_decides_its_queue(ada, live) -> None:
    ada.model("large", config={"require": {"device": "cuda", "memory_bytes": 40}})
    live("cpu", device_facts={"total_bytes": 1_000})
    live("cuda:0", device_facts={"total_bytes": 16})
    assert ada.run("ada/large")["routing"]["queue"] == "unplaced"
    live("cuda:1", device_facts={"total_bytes": 80})
    assert ada.run("ada/large")["routing"]["queue"] == "cuda:1@h"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"routing": "by-dice"}, "config.routing"),
        ({"require": {"memory": 1}}, "config.require.memory"),
        ({"prefer": {"memory_bytes": -1}}, "config.prefer.memory_bytes"),
        ({"require": "cuda"}, "config.require"),
        ({"device": "marker"}, "config.device"),
        ({"device": "webhooks"}, "config.device"),
        ({"device": "cuda:01"}, "config.device"),
        ({"device": "cpu@"}, "config.device"),
        ({"device": "cpu@a b"}, "config.device"),
        ({"require": {"device": "any@h"}}, "config.require.device"),
        ({"prefer": {"device": "gpu"}}, "config.prefer.device"),
    ],
)
def test_a_wrong_wish_is_refused_by_name(ada, config: dict[str, Any], field: str) -> None:
    answer = ada.http.post(
        "/v1/models", json={"name": "wrong", "version": {"runtime": "echo", "config": config}}
    )
    assert answer.status_code == 422
    assert field in answer.json()["detail"]


def test_one_workers_queue_is_for_administrators_to_choose(ada, admin) -> None:
    body = {"name": "bound", "version": {"runtime": "echo", "config": {"device": "cuda:1@gpu-7.example"}}}
    answer = ada.http.post("/v1/models", json=body)
    assert answer.status_code == 422
    assert "config.device: only administrators" in answer.json()["detail"]
    assert admin.http.post("/v1/models", json=body).status_code == 201
    assert admin.run("root/bound")["routing"]["queue"] == "cuda:1@gpu-7.example"


def ill(version: str, **more: Any) -> dict[str, Any]:
    """A version that keeps dying on a worker."""
    told = {
        "version": version,
        "model": "ada/echo",
        "state": "unhealthy",
        "in_use": 0,
        "reason": "it dies",
        "retry_in": 7.4,
    }
    return {**told, **more}


def test_a_version_that_is_unhealthy_everywhere_is_refused_with_the_reason_and_when_to_come_back(
    ada, echo, live
) -> None:
    version = echo["latest_version"]["id"]
    live("cuda:0", models=[ill(version)])
    refused = ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {}})
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "8")
    assert refused.json()["code"] == "model_unhealthy"
    assert "it dies" in refused.json()["detail"]
    serving = ada.http.get(f"/v1/models/ada/echo/versions/{version}").json()["serving"]
    assert serving == {
        "status": "unhealthy",
        "workers": 1,
        "loaded_on": 0,
        "troubled_on": 1,
        "reason": "it dies",
        "retry_in": 7.4,
    }
    live("cuda:1")
    assert ada.run("ada/echo")["routing"]["queue"] == "cuda:1@h"
    assert ada.http.get("/v1/models/ada/echo").json()["latest_version"]["serving"]["status"] == "unloaded"


def test_one_failed_load_closes_nothing(ada, echo, live) -> None:
    live("cuda:0", models=[ill(echo["latest_version"]["id"], state="failed")])
    assert ada.run("ada/echo")["routing"]["queue"] == "cuda"
    assert ada.http.get("/v1/models/ada/echo").json()["latest_version"]["serving"]["status"] == "failed"


def test_the_status_counts_what_is_loaded_and_not_what_is_in_trouble(ada, echo, live) -> None:
    version = echo["latest_version"]["id"]
    live("cuda:0", models=[ill(version)])
    live("cuda:1", models=[ill(version, state="loading"), ill("f" * 64, state="ready")])
    assert ada.http.get("/status").json()["models_loaded"] == 1


def test_a_version_that_no_worker_could_run_is_unserved_and_waits(ada, live) -> None:
    ada.model("far", config={"device": "mps"})
    live("cuda:0")
    assert ada.run("ada/far")["routing"]["queue"] == "mps"
    assert ada.http.get("/v1/models/ada/far").json()["latest_version"]["serving"]["status"] == "unserved"


def test_who_sees_a_public_model_learns_its_routing_but_not_the_workers(ada, bob, echo, live) -> None:
    live("cuda:0")
    told = bob.http.get("/v1/models/ada/echo/routing").json()
    assert (told["queue"], told["candidates"]) == ("cuda", None)


@pytest.fixture
def heard(servers) -> Any:
    """Orders as a worker hears them; `heard()` is the next one."""
    with (
        redis.Redis.from_url(servers.redis_url) as connection,
        connection.pubsub(ignore_subscribe_messages=True) as line,
    ):
        line.subscribe(channels.MODEL_COMMANDS)
        line.get_message(timeout=5)

        def next_order() -> ModelCommand:
            message = line.get_message(timeout=5)
            assert message is not None, "no order came"
            return ModelCommand.decode(message["data"])

        yield next_order


@pytest.mark.parametrize("act", ["load", "unload"])
def test_the_owner_has_every_able_worker_load_or_unload_the_newest_version(
    ada, echo, live, heard, act: str
) -> None:
    live("cuda:0")
    live("cpu")
    live("cuda:1", queues=[])
    version = echo["latest_version"]["id"]
    for _ in range(2):
        answer = ada.http.post(f"/v1/models/ada/echo/{act}")
        assert (answer.status_code, answer.json()) == (
            202,
            {"version": version, "asked": ["cpu@h", "cuda:0@h"]},
        )
        assert heard() == ModelCommand(act, version, ("cpu@h", "cuda:0@h"))


@pytest.mark.parametrize("act", ["pin", "unpin"])
def test_an_administrator_has_workers_keep_a_version_loaded_and_its_owner_does_not(
    ada, admin, echo, live, heard, act: str
) -> None:
    live("cuda:0")
    version = echo["latest_version"]["id"]
    assert ada.http.post(f"/v1/models/ada/echo/{act}").status_code == 403
    answer = admin.http.post(f"/v1/models/ada/echo/{act}", json={"workers": ["cuda:0@h"]})
    assert (answer.status_code, answer.json()) == (202, {"version": version, "asked": ["cuda:0@h"]})
    assert heard() == ModelCommand(act, version, ("cuda:0@h",))
    actions = [each["action"] for each in admin.http.get("/v1/audit").json()["results"]]
    assert f"version.{act}" in actions


def test_a_version_and_workers_can_be_named(ada, echo, live, heard) -> None:
    live("cuda:0")
    live("cpu")
    version = echo["latest_version"]["id"]
    ada.http.post("/v1/models/ada/echo/versions", json={"runtime": "echo", "config": {"rows": 3}})
    answer = ada.http.post("/v1/models/ada/echo/load", json={"version": version, "workers": ["cpu@h"]})
    assert answer.json() == {"version": version, "asked": ["cpu@h"]}
    assert heard() == ModelCommand("load", version, ("cpu@h",))
    wrong = ada.http.post("/v1/models/ada/echo/load", json={"workers": ["mps@nowhere"]})
    assert (wrong.status_code, wrong.json()["invalid_fields"][0]["field"]) == (422, "workers")
    assert ada.http.post("/v1/models/ada/echo/load", json={"version": "0" * 64}).status_code == 404
    assert ada.http.post("/v1/models/ada/echo/load", json={"pin": True}).status_code == 422


def test_only_owners_and_administrators_give_orders(ada, bob, admin, anonymous, echo, live) -> None:
    live("cpu")
    assert bob.http.post("/v1/models/ada/echo/unload").status_code == 403
    assert anonymous.post("/v1/models/ada/echo/unload").status_code == 401
    assert admin.http.post("/v1/models/ada/echo/unload").status_code == 202
    assert ada.http.post("/v1/models/ada/nothing/load").status_code == 404


def test_without_a_worker_that_could_there_is_nothing_to_load_on(ada, live) -> None:
    ada.model("far", config={"device": "mps"})
    live("cpu")
    refused = ada.http.post("/v1/models/ada/far/load")
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert ada.http.post("/v1/models/ada/far/unload").json()["asked"] == []


def test_a_command_that_cannot_be_published_is_refused(start_server, make_person, live) -> None:
    unresponsive = start_server(redis_url="redis://127.0.0.1:1/0")
    eve = make_person("eve", server=unresponsive)
    eve.model("echo")
    live("cpu")
    refused = eve.http.post("/v1/models/eve/echo/load")
    assert (refused.status_code, "Redis" in refused.json()["detail"]) == (503, True)


def test_the_routing_of_what_one_may_not_see_is_not_found(ada, bob, live) -> None:
    ada.model("own")
    assert bob.http.get("/v1/models/ada/own/routing").status_code == 404
    assert ada.http.get("/v1/models/ada/own/routing", params={"version": "0" * 64}).status_code == 404
    wrong = ada.http.get("/v1/models/ada/own/routing", params={"strategy": "by-dice"})
    assert (wrong.status_code, "strategy" in wrong.json()["detail"]) == (422, True)


def test_a_model_is_loaded_and_unloaded_by_any_of_its_names(admin, ada, bob, echo, live) -> None:
    live("cpu")
    admin.http.put("/v1/model-aliases/gpt2", json={"model": "ada/echo"}).raise_for_status()
    for name in ("echo", "gpt2", "ada/echo", f"ada/echo:{echo['latest_version']['id']}"):
        for act in ("load", "unload"):
            answer = ada.http.post(f"/models/{act}", json={"model": name})
            told = {"version": echo["latest_version"]["id"], "asked": ["cpu@h"]}
            assert (answer.status_code, answer.json()) == (202, told)
    assert bob.http.post("/models/load", json={"model": "gpt2"}).status_code == 403
    assert ada.http.post("/models/load", json={"model": "nothing"}).status_code == 404
    wrong = ada.http.post("/models/load", json={"model": "gpt2", "workers": ["cpu@nowhere"]})
    assert (wrong.status_code, "workers" in wrong.json()["detail"]) == (422, True)
