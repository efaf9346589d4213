"""Whatever is created is created once for one Idempotency-Key: one answer, also for many at once; 422 for
another body."""

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from api_people import Person
from sqlalchemy import text

Call = Callable[[httpx.Client, str, str], httpx.Response]  # (client, what is asked, key)


def send_file(client: httpx.Client, what: str, key: str) -> httpx.Response:
    files = {"content": ("a.txt", what.encode(), "text/plain")}
    return client.post("/v1/files", files=files, headers={"Idempotency-Key": key})


def post(path: str, body: Callable[[str], dict[str, Any]]) -> Call:
    return lambda client, what, key: client.post(path, json=body(what), headers={"Idempotency-Key": key})


CREATES: dict[str, tuple[Call, str, str]] = {
    "files": (send_file, "id", "files"),
    "models": (post("/v1/models", lambda what: {"name": "new", "description": what}), "id", "models"),
    "versions": (
        post(
            "/v1/models/ada/echo/versions", lambda what: {"runtime": "echo", "config": {"timeout": len(what)}}
        ),
        "id",
        "versions",
    ),
}


def count(database: Any, table: str) -> int:
    with database.unit() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def at_once(times: int, call: Callable[[], httpx.Response]) -> list[httpx.Response]:
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(call())) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("kind", CREATES)
def test_many_requests_with_one_key_make_one(kind: str, ada: Person, echo: dict, database: Any) -> None:
    call, name, table = CREATES[kind]
    before = count(database, table)
    answers = at_once(8, lambda: call(ada.http, "one", "k"))
    answers.append(call(ada.http, "one", "k"))
    assert [answer.status_code for answer in answers] == [201] * 9, answers[0].text
    assert len({answer.json()[name] for answer in answers}) == 1
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert count(database, table) == before + 1


@pytest.mark.parametrize("kind", CREATES)
def test_another_request_with_the_key_is_refused_by_name_and_makes_nothing(
    kind: str, ada: Person, echo: dict, database: Any
) -> None:
    call, _, table = CREATES[kind]
    assert call(ada.http, "one", "k").status_code == 201
    before = count(database, table)
    refused = call(ada.http, "another", "k")
    assert (refused.status_code, refused.json()["invalid_fields"][0]["field"]) == (422, "Idempotency-Key")
    assert call(ada.http, "one", "a key").status_code == 422, "a key has no spaces"
    assert count(database, table) == before


def test_another_person_has_keys_of_their_own(ada: Person, bob: Person) -> None:
    ids = {send_file(person.http, "one", "k").json()["id"] for person in (ada, bob)}
    models = {
        post("/v1/models", lambda what: {"name": what})(person.http, "m", "k").json()["id"]
        for person in (ada, bob)
    }
    assert (len(ids), models) == (2, {"ada/m", "bob/m"})


def test_what_is_gone_is_not_made_again(ada: Person, echo: dict) -> None:
    for kind, address in (
        ("files", "/v1/files/{id}"),
        ("models", "/v1/models/{id}"),
        ("versions", "/v1/models/ada/echo/versions/{id}"),
    ):
        call = CREATES[kind][0]
        made = call(ada.http, "one", "k").json()
        assert ada.http.delete(address.format(**made)).status_code == 204
        again = call(ada.http, "one", "k")
        assert (again.status_code, again.json()["code"]) == (410, "gone"), kind


def test_a_refused_request_leaves_its_key_free(ada: Person, echo: dict) -> None:
    taken = {"name": "echo"}
    headers = {"Idempotency-Key": "k"}
    assert ada.http.post("/v1/models", json=taken, headers=headers).status_code == 409
    assert ada.http.post("/v1/models", json={"name": "free"}, headers=headers).status_code == 201


def test_a_lost_upload_leaves_no_bytes_behind(ada: Person, api: Any) -> None:
    answers = at_once(6, lambda: send_file(ada.http, "x" * 100_000, "k"))
    (file_id,) = {answer.json()["id"] for answer in answers}
    storage = api.services.storage
    assert [key for key in storage.list("files/") if key == f"files/{file_id}"]
    answers = [send_file(ada.http, "y", "k") for _ in range(2)]
    assert {answer.status_code for answer in answers} == {422}
    with api.app.state.api.core.database.unit() as session:
        known = set(session.execute(text("SELECT storage_key FROM files")).scalars())
    assert known == {f"files/{file_id}"}


def sign_in(person: Person, anonymous: httpx.Client) -> dict[str, str]:
    form = {"username": person.name, "password": "correct horse battery"}
    token = anonymous.post("/v1/auth/token", data=form).json()["access_token"]
    return {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}


def test_a_keys_secret_is_shown_once_and_kept_nowhere(
    ada: Person, anonymous: httpx.Client, database: Any
) -> None:
    headers = sign_in(ada, anonymous)
    answers = at_once(6, lambda: anonymous.post("/v1/keys", json={"name": "laptop"}, headers=headers))
    (made,) = [answer.json() for answer in answers if answer.status_code == 201]
    repeated = [answer for answer in answers if answer.status_code != 201]
    assert {(answer.status_code, answer.json()["code"]) for answer in repeated} == {
        (409, "secret_shown_once")
    }
    assert all(made["id"] in answer.json()["detail"] for answer in repeated)
    assert anonymous.post("/v1/keys", json={"name": "phone"}, headers=headers).status_code == 422
    assert [one["name"] for one in anonymous.get("/v1/keys", headers=headers).json()["results"]].count(
        "laptop"
    ) == 1
    with database.unit() as session:
        rows = session.execute(
            text("SELECT t::text FROM idempotency_keys t UNION ALL SELECT t::text FROM api_keys t")
        ).scalars()
        assert not [row for row in rows if made["key"] in row]


def test_an_account_is_made_once_and_only_its_password_repeats_it(
    anonymous: httpx.Client, database: Any
) -> None:
    wanted = {"email": "Eve@example.com", "username": "eve", "password": "correct horse battery"}
    headers = {"Idempotency-Key": "k"}

    def register(**changes: str) -> httpx.Response:
        return anonymous.post("/v1/auth/register", json=wanted | changes, headers=headers)

    answers = at_once(4, register)
    assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    assert register(username="eva").status_code == 422
    assert register(password="another password").status_code == 422
    assert register(email="other@example.com").status_code == 409, (
        "the name is taken, and that account has no such key"
    )
    assert register(email="other@example.com", username="other").status_code == 201, "another account's key"
    assert anonymous.post("/v1/auth/register", json=wanted).status_code == 409
    assert count(database, "users") == 2
    assert count(database, "audit_log WHERE action = 'account.created'") == 2


def test_guessing_an_accounts_password_by_its_key_is_slowed_down(anonymous: httpx.Client) -> None:
    wanted = {"email": "eve@example.com", "username": "eve", "password": "correct horse battery"}
    headers = {"Idempotency-Key": "k"}
    assert anonymous.post("/v1/auth/register", json=wanted, headers=headers).status_code == 201
    guesses = [
        anonymous.post("/v1/auth/register", json=wanted | {"password": f"guess {n} of it"}, headers=headers)
        for n in range(14)
    ]
    assert {guess.status_code for guess in guesses} == {422, 429}


def test_keys_are_forgotten_after_a_day(ada: Person, api: Any, database: Any) -> None:
    first = send_file(ada.http, "one", "k").json()["id"]
    send_file(ada.http, "one", "young")
    with database.unit() as session:
        session.execute(
            text("UPDATE idempotency_keys SET created_at = now() - interval '25 h' WHERE key = 'k'")
        )
    api.app.state.api.core.recovery().expiry.run()
    assert count(database, "idempotency_keys") == 1
    assert send_file(ada.http, "one", "k").json()["id"] != first
