"""Accounts, tokens and keys over HTTP."""

from datetime import UTC, datetime, timedelta

import pytest
from api_people import bearer
from waiting import eventually

PASSWORD = "correct horse battery"
GRACE = {"email": "Grace@Example.com", "username": "grace", "password": PASSWORD}


def sign_in(client, login, password=PASSWORD):
    return client.post("/v1/auth/token", data={"username": login, "password": password})


def test_who_registers_can_sign_in_and_reads_who_they_are(anonymous):
    created = anonymous.post("/v1/auth/register", json=GRACE)
    assert created.status_code == 201, created.text
    for login in ("grace", "grace@example.com", "GRACE"):
        token = sign_in(anonymous, login).json()["access_token"]
        account = anonymous.get("/v1/account", headers=bearer(token)).json()
        assert (account["type"], account["username"], account["scopes"]) == (
            "user",
            "grace",
            ["models", "predict"],
        )


@pytest.mark.parametrize("charset", ["utf-7", "undefined"])
def test_texts_that_cannot_be_stored_are_nobodys_login(anonymous, charset):
    parts = {"username": "+2AA-", "password": "+2AA-12345678"}  # in UTF-7 half a surrogate pair
    body = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in parts.items()
    )
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    answer = anonymous.post("/v1/auth/token", content=(body + "--x--\r\n").encode(), headers=headers)
    assert answer.status_code == (401 if charset == "utf-7" else 400)


@pytest.mark.parametrize("change", [{"email": "other@example.com"}, {"username": "other"}])
def test_a_name_and_an_address_can_be_had_once(anonymous, change):
    anonymous.post("/v1/auth/register", json=GRACE)
    again = anonymous.post("/v1/auth/register", json=GRACE | change)
    assert again.status_code == 409
    assert ("username" if "email" in change else "email") in again.json()["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"password": "tiny"}, "password"),
        ({"password": "x" * 1025}, "password"),
        ({"password": "nul\x00nul\x00"}, "body"),
        ({"password": 12345678}, "password"),
        ({"email": "nobody"}, "email"),
        ({"username": "../etc"}, "username"),
        ({"role": "admin"}, "role"),
        ({"is_admin": True}, "is_admin"),
    ],
)
def test_a_bad_registration_is_refused_by_field_and_not_repeated(anonymous, change, field):
    answer = anonymous.post("/v1/auth/register", json=GRACE | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert field in answer.json()["detail"]
    assert str(next(iter(change.values())))[:8] not in answer.text or field in ("role", "is_admin")


def test_an_owner_of_models_is_not_a_free_username(anonymous, admin):
    admin.http.post("/v1/models", json={"owner": "demo", "name": "thing"})
    assert anonymous.post("/v1/auth/register", json=GRACE | {"username": "demo"}).status_code == 409


def test_a_key_is_shown_once_works_and_is_revoked_at_once(ada, anonymous):
    token = sign_in(anonymous, "ada").json()["access_token"]
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = anonymous.post(
        "/v1/keys",
        headers=bearer(token),
        json={"name": "laptop", "scopes": ["predict"], "expires_at": expires},
    )
    assert made.status_code == 201, made.text
    key = made.json()["key"]
    assert key.startswith("lov_")
    assert key.startswith(made.json()["prefix"])
    listed = anonymous.get("/v1/keys", headers=bearer(token))
    assert "laptop" in listed.text
    assert key not in listed.text
    assert anonymous.get("/v1/account", headers=bearer(key)).json()["scopes"] == ["predict"]
    assert anonymous.delete(f"/v1/keys/{made.json()['id']}", headers=bearer(token)).status_code == 204
    assert anonymous.get("/v1/account", headers=bearer(key)).status_code == 401


def test_a_used_key_remembers_when(ada):
    ada.http.get("/v1/account")
    eventually(lambda: ada.http.get("/v1/keys").json()["results"][0]["last_used_at"])


def test_an_expired_key_is_refused(ada, api, anonymous):
    past = datetime.now(UTC) - timedelta(seconds=1)
    key = api.services.people.keys.issue(ada.id, "old", ["predict"], past).secret
    assert anonymous.get("/v1/account", headers=bearer(key)).status_code == 401


def test_a_scoped_key_makes_no_keys_and_admin_scope_is_for_admins(ada, anonymous, admin):
    assert ada.http.post("/v1/keys", json={"name": "more"}).status_code == 403
    token = sign_in(anonymous, "ada").json()["access_token"]
    refused = anonymous.post("/v1/keys", headers=bearer(token), json={"name": "x", "scopes": ["admin"]})
    assert refused.status_code == 403
    assert admin.http.post("/v1/keys", json={"name": "x", "scopes": ["admin"]}).status_code == 201
    someone_elses = admin.http.get("/v1/keys").json()["results"][0]["id"]
    assert anonymous.delete(f"/v1/keys/{someone_elses}", headers=bearer(token)).status_code == 404


def test_a_missing_scope_is_named(make_person, echo):
    reader = make_person(scopes=("models",))
    answer = reader.http.post("/v1/predictions", json={"version": "ada/echo", "input": {}})
    assert answer.status_code == 403
    assert "'predict'" in answer.json()["detail"]
    runner = make_person(scopes=("predict",))
    assert "'models'" in runner.http.post("/v1/models", json={"name": "x"}).json()["detail"]


def test_registration_can_be_closed(start_server, anonymous):
    server = start_server(allow_registration=False)
    assert anonymous.post(f"{server.url}/v1/auth/register", json=GRACE).status_code == 403


@pytest.mark.parametrize(
    ("moment", "status"), [("2030-01-01T00:00:00+23:59", 201), ("9999-12-31T23:59:59-18:00", 422)]
)
def test_odd_time_zones_of_a_keys_end_are_understood_or_refused_by_name(admin, moment, status):
    answer = admin.http.post("/v1/keys", json={"name": "laptop", "expires_at": moment})
    assert answer.status_code == status, answer.text
    assert status == 201 or "expires_at" in answer.json()["detail"]
