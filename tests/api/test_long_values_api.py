"""Inputs and outputs of megabytes come back as they were, whatever way they are asked for, and lists stay
short."""

import json
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from api_people import Person, Server
from sqlalchemy import text
from websockets.sync.client import connect

from app.services.predictions.stored_values import INLINE_BYTES

LONG = "z" * 600_000
MESSAGES = [{"role": "user", "content": LONG}, {"role": "user", "content": LONG}]
ANSWER = [LONG, LONG + "!"]


@pytest.fixture(scope="module")
def large(start_server) -> Server:
    return start_server(max_body_bytes=10_000_000)


@pytest.fixture
def person(make_person: Callable[..., Person], large: Server) -> Person:
    return make_person("ada", server=large)


@pytest.fixture
def talks(database: Any, person: Person, talker: Callable[..., str]) -> str:
    return talker(chunks=0)


@pytest.fixture
def ada(person: Person) -> Person:
    return person


def create(person: Person, model: str, wait: str = "wait=20", **values: Any) -> dict[str, Any]:
    asked = {"version": model, "input": values}
    answer = person.http.post("/v1/predictions", json=asked, headers={"Prefer": wait})
    assert answer.status_code == 201, answer.text[:500]
    assert int(answer.headers["content-length"]) == len(answer.content)
    return dict(answer.json())


def test_a_long_prediction_is_answered_whole_and_listed_short(person, talks, worker, core) -> None:
    made = create(person, talks, messages=MESSAGES, answer=ANSWER)
    assert (made["status"], made["input"]["messages"], made["output"]) == ("succeeded", MESSAGES, ANSWER)
    assert "left_out" not in made
    found = person.http.get(f"/v1/predictions/{made['id']}").json()
    assert (found["input"], found["output"]) == (made["input"], ANSWER)
    listed = person.http.get("/v1/predictions")
    [entry] = listed.json()["results"]
    assert (entry["input"], entry["output"], entry["left_out"]) == (None, None, ["input", "output"])
    assert len(listed.content) < 3_000
    with core.database.unit() as session:
        sizes = "SELECT octet_length(input::text) + octet_length(output::text) FROM predictions"
        assert session.execute(text(sizes)).scalar_one() < 1_000


def test_before_its_end_a_long_input_is_shown_too(person, talks) -> None:
    made = create(person, talks, wait="wait=1", messages=MESSAGES)
    assert (made["status"], made["input"]["messages"], made["output"]) == ("starting", MESSAGES, None)
    canceled = person.http.post(f"/v1/predictions/{made['id']}/cancel").json()
    assert (canceled["status"], canceled["input"]) == ("canceled", made["input"])


def test_a_hundred_long_rows_make_a_short_page(person, talks, core) -> None:
    made = create(person, talks, wait="wait=1", messages=MESSAGES)
    copy = """
        INSERT INTO predictions (id, user_id, version_id, model, queue, input, input_bytes, input_key)
        SELECT lpad(n::text, 26, '0'), user_id, version_id, model, queue, input, input_bytes, input_key
        FROM predictions, generate_series(1, 100) AS n WHERE id = :id"""
    with core.database.unit() as session:
        session.execute(text(copy), {"id": made["id"]})
    listed = person.http.get("/v1/predictions?limit=100")
    assert (len(listed.json()["results"]), len(listed.content) < 200_000) == (100, True)


def test_the_same_key_gives_the_long_prediction_that_exists(person, talks) -> None:
    asked = {"version": talks, "input": {"messages": MESSAGES}}
    twice = [
        person.http.post("/v1/predictions", json=asked, headers={"Idempotency-Key": "k"}).json() for _ in "ab"
    ]
    assert twice[0]["id"] == twice[1]["id"]
    assert twice[1]["input"]["messages"] == MESSAGES


@pytest.mark.parametrize("count", [1, 2])
def test_what_has_a_long_input_runs_again_with_all_of_it(person, talks, count) -> None:
    """One that is in its row, and one that is a file; alone, and read with others."""
    for values in ({"prompt": LONG[:50_000], "seconds": 1}, {"messages": MESSAGES, "seconds": 1}):
        body = {"version": talks, "input": values}
        ids = [person.http.post("/v1/predictions", json=body).json()["id"] for _ in range(count)]
        person.http.post("/v1/predictions/cancel", json={"ids": ids}).raise_for_status()
        answer = person.http.post("/v1/predictions/rerun", json={"ids": ids}).json()
        assert (answer["refused"], len(answer["created"])) == ([], count)
        for each in answer["created"]:
            again = person.http.get(f"/v1/predictions/{each['id']}").json()["input"]
            assert {name: again.get(name) for name in values} == values


def test_removing_the_data_removes_what_was_stored(person, talks, worker, large) -> None:
    made = create(person, talks, messages=MESSAGES, answer=ANSWER)
    storage = large.services.storage
    kept = [f"inputs/{made['id']}.json", f"outputs/{made['id']}/1/value/output.json"]
    assert [storage.exists(key) for key in kept] == [True, True]
    assert person.http.delete(f"/v1/predictions/{made['id']}").status_code == 204
    assert [storage.exists(key) for key in kept] == [False, False]
    removed = person.http.get(f"/v1/predictions/{made['id']}").json()
    assert (removed["input"], removed["output"], removed["data_removed"]) == (None, None, True)


def test_a_stored_input_that_is_lost_is_an_error_that_says_so(person, talks, large) -> None:
    made = create(person, talks, wait="wait=1", messages=MESSAGES)
    large.services.storage.delete([f"inputs/{made['id']}.json"])
    answer = person.http.get(f"/v1/predictions/{made['id']}")
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_error")


def test_openais_clients_get_long_answers_and_send_long_messages(
    large, person, talker, worker, remote
) -> None:
    vectors = [[0.123456789] * 60_000, [0.5] * 100_000]
    answer = remote(large, person).embeddings.create(
        model=talker(chunks=0), input="x", extra_body={"answer": vectors}
    )
    assert [len(each.embedding) for each in answer.data] == [60_000, 100_000]
    said = remote(large, person).chat.completions.create(model=talker(chunks=1), messages=MESSAGES)
    assert said.choices[0].message.content == "said"


def test_choices_of_one_call_share_one_stored_prompt(large, person, talks, worker, remote, core) -> None:
    before = set(large.services.storage.list("inputs/"))
    answer = remote(large, person).chat.completions.create(model=talks, messages=MESSAGES, n=8)
    assert len(answer.choices) == 8
    assert len(set(large.services.storage.list("inputs/")) - before) == 1
    with core.database.unit() as session:
        rows = "SELECT count(*), count(DISTINCT input_key), sum(octet_length(input::text)) FROM predictions"
        count, keys, inline = session.execute(text(rows)).one()
    assert (count, keys, inline < 8_000) == (8, 1, True)


def test_choices_count_as_so_many_creations(start_server, person, talker, remote) -> None:
    limited = remote(start_server(rate_limit_creates="10/minute"), person)
    with pytest.raises(openai.RateLimitError):
        limited.chat.completions.create(model=talker(), messages=[{"role": "user", "content": "x"}], n=12)


def test_a_stream_ends_with_what_a_long_output_has_beyond_its_chunks(person, talks, worker) -> None:
    made = create(person, talks, messages=MESSAGES, answer=ANSWER)
    with person.http.stream("GET", made["urls"]["stream"]) as events:
        lines = [line for line in events.iter_lines() if line.startswith("data:")]
    assert [line.removeprefix("data: ") for line in lines] == [*ANSWER, "{}"]


@contextmanager
def dial(server: Server, person: Person) -> Any:
    url, headers = server.url.replace("http", "ws") + "/ws/long", {"Authorization": f"Bearer {person.key}"}
    with connect(url, additional_headers=headers, proxy=None, max_size=None) as socket:
        yield socket


def test_a_websocket_gets_long_results(large, person, talks, worker) -> None:
    with dial(large, person) as socket:
        for _ in range(3):
            inputs = {"messages": MESSAGES, "answer": ANSWER}
            socket.send(json.dumps({"type": "inference", "model": talks, "inputs": inputs}))
        results = []
        while len(results) < 3:
            message = json.loads(socket.recv(timeout=20))
            assert message["type"] != "error", message
            results += [message["prediction"]] if message["type"] == "result" else []
    assert all((each["input"]["messages"], each["output"]) == (MESSAGES, ANSWER) for each in results)


def test_a_models_example_is_no_longer_than_a_lists_entry(person, talks, worker) -> None:
    made = create(person, talks, messages=MESSAGES, answer=ANSWER)
    assert person.http.patch(f"/v1/models/{talks}", json={"default_example": made["id"]}).status_code == 200
    for shown in (person.http.get(f"/v1/models/{talks}"), person.http.get("/v1/models")):
        assert len(shown.content) < INLINE_BYTES / 10
        model = shown.json() if "results" not in shown.json() else shown.json()["results"][0]
        assert model["default_example"]["left_out"] == ["input", "output"]
