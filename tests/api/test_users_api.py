"""Administrators see, create, promote, disable and delete users; there is always an administrator left."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from api_people import Person, bearer
from waiting import eventually

PASSWORD = "correct horse battery"


def sign_in(person: Person, name: str):
    return person.http.post("/v1/auth/token", data={"username": name, "password": PASSWORD})


def set_disabled(person: Person, name: str, disabled: bool):
    return person.http.patch(f"/v1/users/{name}", json={"disabled": disabled})


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_disabled_user_is_refused_at_once_by_key_and_token_until_enabled(
    start_server, make_person, seconds
) -> None:
    server = start_server(principal_cache_seconds=seconds)
    admin, ada = make_person("root", admin=True, server=server), make_person("ada", server=server)
    token = {"Authorization": f"Bearer {sign_in(ada, 'ada').json()['access_token']}"}
    assert (
        ada.http.get("/v1/account").status_code
        == ada.http.get("/v1/account", headers=token).status_code
        == 200
    )
    made = set_disabled(admin, "ada", True)
    assert (made.status_code, bool(made.json()["disabled_at"])) == (200, True)
    for answer in (
        ada.http.get("/v1/account"),
        ada.http.get("/v1/account", headers=token),
        sign_in(ada, "ada"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "account_disabled")
    assert set_disabled(admin, "ada", False).json()["disabled_at"] is None
    assert ada.http.get("/v1/account").status_code == 200, "a key works again"
    assert ada.http.get("/v1/account", headers=token).status_code == 401, "no token is revived"
    assert sign_in(ada, "ada").status_code == 200


def test_a_wrong_password_of_a_disabled_user_tells_nothing(admin: Person, ada: Person) -> None:
    set_disabled(admin, "ada", True)
    answer = ada.http.post("/v1/auth/token", data={"username": "ada", "password": "wrong password"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_only_administrators_manage_users_and_never_themselves(
    admin: Person, ada: Person, bob: Person
) -> None:
    assert ada.http.get("/v1/users").status_code == 403
    assert set_disabled(ada, "bob", True).status_code == 403
    assert set_disabled(admin, "root", True).status_code == 409
    for name in ("nobody", "%00", "x" * 500, "Ada"):
        assert set_disabled(admin, name, True).status_code == 404, name
    assert admin.http.patch("/v1/users/bob", json={"disabled": True, "scopes": []}).status_code == 422
    assert admin.http.patch("/v1/users/bob", json={}).status_code == 422
    listed = admin.http.get("/v1/users", params={"limit": 2}).json()
    rest = admin.http.get(listed["next"]).json()
    assert {user["username"] for user in listed["results"] + rest["results"]} == {"root", "ada", "bob"}


def test_the_audit_log_says_who_disabled_whom_and_is_filtered(admin: Person, ada: Person) -> None:
    set_disabled(admin, "ada", True)
    set_disabled(admin, "ada", False)
    sign_in(ada, "ada")

    def log(**asked: str) -> list[tuple[str, str, str]]:
        found = admin.http.get("/v1/audit", params=asked)
        assert found.status_code == 200, found.text
        return [(one["action"], one["username"], one["target"]) for one in found.json()["results"]]

    eventually(lambda: len(log()) >= 3)  # written beside the act
    assert sorted(log(username="root")) == [("user.disabled", "root", "ada"), ("user.enabled", "root", "ada")]
    assert log(action="user.disabled") == [("user.disabled", "root", "ada")]
    assert log(username="ada", since="2020-01-01T00:00:00") == [("login.ok", "ada", "ada")]
    assert log(since="2999-01-01T00:00:00+01:00") == []
    assert admin.http.get("/v1/audit", params={"since": "soon"}).status_code == 422


ADA = {"email": "Ada@Example.com", "username": "ada"}


def test_an_administrator_creates_a_user_whose_password_is_shown_once(
    admin: Person, anonymous: httpx.Client
) -> None:
    made = admin.http.post("/v1/users", json=ADA)
    assert (made.status_code, made.json()["email"], made.json()["is_admin"]) == (
        201,
        "ada@example.com",
        False,
    )
    assert made.headers["cache-control"] == "no-store"
    password = made.json()["password"]
    login = {"username": "ada", "password": password}
    assert anonymous.post("/v1/auth/token", data=login).status_code == 200
    assert password not in admin.http.get("/v1/users").text
    chosen = {"email": "bob@example.com", "username": "bob", "password": PASSWORD, "is_admin": True}
    made = admin.http.post("/v1/users", json=chosen)
    assert "password" not in made.json()
    token = anonymous.post("/v1/auth/token", data={"username": "bob", "password": PASSWORD}).json()
    account = anonymous.get("/v1/account", headers=bearer(token["access_token"])).json()
    assert account["scopes"] == ["admin", "models", "predict"]


def test_a_repeated_creation_makes_one_user(admin: Person) -> None:
    key = {"Idempotency-Key": "one-user"}
    chosen = ADA | {"password": PASSWORD}
    for _ in range(2):
        assert admin.http.post("/v1/users", json=chosen, headers=key).status_code == 201
    made_up = ADA | {"username": "eva", "email": "eva@example.com"}
    key = {"Idempotency-Key": "another-user"}
    assert admin.http.post("/v1/users", json=made_up, headers=key).status_code == 201
    again = admin.http.post("/v1/users", json=made_up, headers=key)
    assert (again.status_code, again.json()["code"]) == (409, "secret_shown_once")
    assert admin.http.delete("/v1/users/eva").status_code == 204
    assert admin.http.post("/v1/users", json=made_up, headers=key).status_code == 410
    assert len(admin.http.get("/v1/users").json()["results"]) == 2


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"username": "root"}, 409, "username"),
        ({"email": "root@example.com"}, 409, "email"),
        ({"username": "system"}, 409, "username"),
        ({"email": "nobody"}, 422, "email"),
        ({"password": "tiny"}, 422, "password"),
        ({"role": "admin"}, 422, "role"),
    ],
)
def test_a_user_that_cannot_be_is_refused_by_field(admin: Person, change, status, field) -> None:
    answer = admin.http.post("/v1/users", json=ADA | change)
    assert (answer.status_code, field in answer.json()["detail"]) == (status, True)


def test_users_and_lesser_keys_administer_nobody(make_person, admin: Person, ada: Person) -> None:
    lesser = make_person("lesser", admin=True, scopes=("predict", "models"))
    for person in (ada, lesser):
        for method, path, body in (
            ("POST", "/v1/users", ADA),
            ("PATCH", "/v1/users/root", {"is_admin": False}),
            ("PUT", "/v1/users/root/password", {}),
            ("POST", "/v1/users/root/sign-out", {}),
            ("DELETE", "/v1/users/root", None),
        ):
            assert person.http.request(method, path, json=body).status_code == 403, (method, path)


def test_a_promoted_user_is_an_administrator_until_demoted(admin: Person, ada: Person) -> None:
    token = bearer(sign_in(ada, "ada").json()["access_token"])
    assert ada.http.get("/v1/users", headers=token).status_code == 403
    assert admin.http.patch("/v1/users/ada", json={"is_admin": True}).json()["is_admin"] is True
    assert ada.http.get("/v1/users", headers=token).status_code == 200
    assert admin.http.patch("/v1/users/ada", json={"is_admin": False}).json()["is_admin"] is False
    assert ada.http.get("/v1/users", headers=token).status_code == 403


def test_the_last_administrator_stays_one_however_many_try_at_once(admin: Person, make_person) -> None:
    second = make_person("second", admin=True)
    assert admin.http.delete("/v1/users/root").status_code == 409, "oneself"
    demote = {"is_admin": False}

    def demotes_the_other(pair: tuple[Person, str]) -> int:
        person, other = pair
        return person.http.patch(f"/v1/users/{other}", json=demote).status_code

    with ThreadPoolExecutor(2) as threads:
        statuses = list(threads.map(demotes_the_other, [(admin, "second"), (second, "root")]))
    assert statuses.count(200) == 1, statuses
    left = admin if statuses[0] == 200 else second
    refused = left.http.patch(f"/v1/users/{left.name}", json=demote)
    assert (refused.status_code, "last administrator" in refused.json()["detail"]) == (409, True)


def test_a_reset_ends_the_old_password_the_tokens_and_on_request_the_keys(
    admin: Person, ada: Person, anonymous: httpx.Client
) -> None:
    token = bearer(sign_in(ada, "ada").json()["access_token"])
    made_up = admin.http.put("/v1/users/ada/password").json()["password"]
    assert anonymous.get("/v1/account", headers=token).status_code == 401
    assert sign_in(ada, "ada").status_code == 401
    assert anonymous.post("/v1/auth/token", data={"username": "ada", "password": made_up}).status_code == 200
    assert ada.http.get("/v1/account").status_code == 200, "keys stay"
    reset = admin.http.put("/v1/users/ada/password", json={"password": PASSWORD, "revoke_keys": True})
    assert (reset.status_code, "password" in reset.json()) == (200, False)
    assert ada.http.get("/v1/account").status_code == 401
    assert sign_in(admin, "ada").status_code == 200
    assert admin.http.put("/v1/users/nobody/password").status_code == 404


def test_a_user_is_signed_out_by_an_administrator(admin: Person, ada: Person) -> None:
    token = bearer(sign_in(ada, "ada").json()["access_token"])
    assert admin.http.post("/v1/users/ada/sign-out").status_code == 204
    assert admin.http.get("/v1/account", headers=token).status_code == 401
    assert ada.http.get("/v1/account").status_code == 200
    assert admin.http.post("/v1/users/ada/sign-out", json={"revoke_keys": True}).status_code == 204
    assert ada.http.get("/v1/account").status_code == 401


def test_a_deleted_user_loses_access_models_and_deployments_and_keeps_the_name(
    admin: Person, ada: Person, bob: Person, anonymous: httpx.Client
) -> None:
    token = bearer(sign_in(ada, "ada").json()["access_token"])
    ada.model("echo", visibility="public")
    deployment = {"name": "d", "model": "ada/echo", "version": None, "hardware": "any"}
    ada.http.post("/v1/deployments", json={k: v for k, v in deployment.items() if v})
    assert bob.run("ada/echo", text="x")["status"] == "starting"
    assert admin.http.delete("/v1/users/ada").status_code == 204
    for answer in (ada.http.get("/v1/account"), anonymous.get("/v1/account", headers=token)):
        assert answer.status_code == 401
    assert sign_in(admin, "ada").status_code == 401
    assert bob.http.get("/v1/models/ada/echo").status_code == 404
    assert bob.http.post("/v1/predictions", json={"version": "ada/echo", "input": {}}).status_code == 404
    assert admin.http.delete("/v1/users/ada").status_code == 404, "there is no such user any more"
    assert [user["username"] for user in admin.http.get("/v1/users").json()["results"]] == ["bob", "root"]
    for taken in (ADA | {"email": "new@example.com"},):
        assert admin.http.post("/v1/users", json=taken).status_code == 409
    assert admin.http.post("/v1/users", json=ADA | {"username": "ada2"}).status_code == 201, (
        "the address is free"
    )


def test_what_an_administrator_registered_for_all_outlives_the_account(admin: Person, make_person) -> None:
    leaving = make_person("leaving", admin=True)
    for body in ({"owner": "demo", "name": "thing", "visibility": "public"}, {"name": "own"}):
        assert leaving.http.post("/v1/models", json=body).status_code == 201
    assert admin.http.delete("/v1/users/leaving").status_code == 204
    assert admin.http.get("/v1/models/demo/thing").status_code == 200
    assert admin.http.get("/v1/models/leaving/own").status_code == 404
    assert admin.http.patch("/v1/models/demo/thing", json={"description": "mine now"}).status_code == 200


def test_an_administrator_cancels_somebody_elses_prediction_and_the_answer_shows_nothing_of_it(
    admin: Person, ada: Person, bob: Person
) -> None:
    ada.model("echo")
    made = ada.run("ada/echo", text="a secret")
    path = f"/v1/predictions/{made['id']}/cancel"
    assert bob.http.post(path).status_code == 404
    answer = admin.http.post(path)
    assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert "a secret" not in answer.text + admin.http.post(path).text
    seen = ada.http.get(f"/v1/predictions/{made['id']}").json()
    assert (seen["input"]["text"], seen["error"]) == ("a secret", "An administrator canceled it.")


def test_all_of_a_users_predictions_end_with_one_call_and_what_waits_with_the_account(
    admin: Person, ada: Person, bob: Person
) -> None:
    ada.model("echo", visibility="public")
    first = [ada.run("ada/echo", text="x")["id"] for _ in range(3)]
    assert bob.http.post("/v1/users/ada/cancel").status_code == 403
    assert admin.http.post("/v1/users/nobody/cancel").status_code == 404
    answer = admin.http.post("/v1/users/ada/cancel")
    assert (answer.status_code, answer.json()) == (200, {"canceled": 3, "is_done": True})
    assert {ada.http.get(f"/v1/predictions/{each}").json()["status"] for each in first} == {"canceled"}
    waiting = ada.run("ada/echo", text="x")["id"]
    set_disabled(admin, "ada", True)
    set_disabled(admin, "ada", False)
    seen = ada.http.get(f"/v1/predictions/{waiting}").json()
    assert (seen["status"], seen["error"]) == ("canceled", "Its account was disabled.")

    def noted() -> set[str]:
        return {entry["action"] for entry in admin.http.get("/v1/audit").json()["results"]}

    eventually(lambda: "predictions.canceled" in noted())
