"""Administrators see users and disable them; what is theirs stops working at once."""

import pytest
from api_people import Person
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
    assert (
        ada.http.get("/v1/account").status_code
        == ada.http.get("/v1/account", headers=token).status_code
        == 200
    )


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
    assert admin.http.patch("/v1/users/bob", json={"disabled": True, "is_admin": True}).status_code == 422
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
