"""Queues and workers as administrators see and change them."""

from uuid import uuid4

import pytest
from api_people import Person, Server
from sqlalchemy import text

from app.db import workers
from app.domain.workers import NewWorker


@pytest.fixture
def fleet(database) -> list[str]:
    """Live workers, a GPU's and a CPU's; their ids."""
    made = [
        NewWorker(
            id=uuid4(),
            host="h",
            pid=1,
            device=device,
            device_class=device.partition(":")[0],
            device_facts={},
            queues=[f"{device}@h", device.partition(":")[0], "any"],
            slots=4,
        )
        for device in ("cuda:0", "cpu")
    ]
    with database.unit() as session:
        for worker in made:
            workers.register(session, worker)
        session.execute(text("UPDATE workers SET seen_at = now() + interval '1 hour'"))  # no heartbeat comes
    return [str(worker.id) for worker in made]


def post(person: Person, path: str, status: int, **body: object) -> dict[str, object]:
    answer = person.http.post(path, json=body) if body else person.http.post(path)
    assert answer.status_code == status, answer.text
    return dict(answer.json()) if answer.content else {}


def states(admin: Person) -> dict[str, dict]:
    return {each["queue"]: each for each in admin.http.get("/v1/queues").json()["results"]}


def waiting(database, **values: str) -> list[str]:
    with database.unit() as session:
        rows = session.execute(
            text("SELECT id, queue FROM predictions WHERE status = 'starting' ORDER BY id")
        )
        return [row.id for row in rows if row.queue == values["queue"]]


def test_what_waits_is_paused_moved_resumed_and_purged(fleet, ada, admin, echo, database) -> None:
    made = [ada.run("ada/echo", text="x")["id"] for _ in range(3)]
    with database.unit() as session:
        session.execute(text("UPDATE predictions SET queue = 'cuda'"))
        session.execute(
            text('UPDATE predictions SET routing = \'{"strategy": "pinned"}\' WHERE id = :id'),
            {"id": made[0]},
        )
    assert (states(admin)["cuda"]["waiting"], states(admin)["cuda"]["workers"]) == (3, ["cuda:0@h"])
    post(admin, "/v1/queues/cuda/pause", 204)
    assert states(admin)["cuda"]["paused_by"] == "root"
    assert post(admin, "/v1/queues/cuda/move", 200, to="cpu") == {"count": 2, "more": False}
    assert waiting(database, queue="cuda") == [made[0]], "what is pinned stays"
    post(admin, "/v1/queues/cuda/resume", 204)
    assert states(admin)["cuda"]["paused_since"] is None
    assert post(admin, "/v1/queues/cpu/purge", 200) == {"count": 2, "more": False}
    ended = ada.http.get(f"/v1/predictions/{made[1]}").json()
    assert (ended["status"], "administrator" in ended["error"]) == ("canceled", True)


def test_a_worker_is_drained_and_resumed_by_its_name_or_id(fleet, admin) -> None:
    assert post(admin, "/v1/workers/cuda:0@h/drain", 200)["queues"] == []
    assert "cuda:0@h" not in states(admin)["cuda"]["workers"]
    assert post(admin, f"/v1/workers/{fleet[0]}/resume", 200)["queues"] == ["cuda:0@h", "cuda", "any"]
    assert [each["device"] for each in admin.http.get("/v1/workers").json()["results"]] == ["cpu", "cuda:0"]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/v1/queues/printer/pause", {}, 404, "printer"),
        ("/v1/queues/cuda/move", {"to": "mps"}, 409, "cpu@h"),
        ("/v1/queues/cuda/move", {"to": "cuda"}, 409, "another queue"),
        ("/v1/queues/cuda/move", {"to": "cpu", "colour": 1}, 422, "colour"),
        ("/v1/workers/mps@h/drain", {}, 404, "cpu@h, cuda:0@h"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(fleet, admin, path, body, status, said) -> None:
    assert said in str(post(admin, path, status, **body)["detail"])


def test_nobody_but_administrators(fleet, ada) -> None:
    for path in ("/v1/queues/cpu/pause", "/v1/queues/cpu/purge", "/v1/workers/cpu@h/drain"):
        post(ada, path, 403)
    assert ada.http.get("/v1/queues").status_code == ada.http.get("/v1/workers").status_code == 403


def test_two_workers_of_one_name_are_told_apart_by_their_ids(fleet, admin, database, api: Server) -> None:
    with database.unit() as session:
        session.execute(text("UPDATE workers SET device = 'cpu'"))
    assert fleet[0] in str(post(admin, "/v1/workers/cpu@h/drain", 409)["detail"])


def test_the_command_line(run_as, fleet, ada, admin, echo) -> None:
    ada.run("ada/echo", text="x")
    run = run_as(admin)
    assert "cuda:0@h" in run("queue", "ls").output
    assert "is paused" in run("queue", "pause", "cpu").output
    assert "paused by root" in run("queue", "ls").output
    assert run("queue", "resume", "cpu").exit_code == 0
    assert run("queue", "move", "cuda", "nowhere").exit_code == 1
    assert run("queue", "purge", "cpu", typed="n\n").exit_code == 1
    assert "canceled" in run("queue", "purge", "cpu", "--yes").output
    assert "takes nothing new" in run("worker", "drain", "cpu@h").output
    assert "drained" in run("worker", "ls").output
    assert "takes predictions again" in run("worker", "resume", "cpu@h").output


def test_top_and_status_show_workers_models_queues_and_rates(run_as, fleet, admin) -> None:
    for command in ("top", "status"):
        shown = run_as(admin)(command)
        assert shown.exit_code == 0, shown.output
        assert "0 waiting, 0 running" in shown.output
        assert "cuda:0@h" in shown.output
