"""People change their own credentials: the password, tokens, webhook secrets, the key for links to files."""

import base64
import hmac
import time

import httpx
import pytest
from api_people import Person, bearer
from waiting import eventually

PASSWORD, ANOTHER = "correct horse battery", "tr0ub4dor and three"


def sign_in(client: httpx.Client, name: str, password: str = PASSWORD) -> httpx.Response:
    return client.post("/v1/auth/token", data={"username": name, "password": password})


@pytest.fixture
def token(ada: Person, anonymous: httpx.Client) -> dict[str, str]:
    """Ada's, from her password."""
    return bearer(sign_in(anonymous, "ada").json()["access_token"])


def change(client: httpx.Client, headers: dict[str, str], current: str, new: str) -> httpx.Response:
    body = {"current_password": current, "new_password": new}
    return client.put("/v1/account/password", json=body, headers=headers)


def test_a_changed_password_ends_the_old_one_and_all_tokens_and_answers_a_new_one(
    ada: Person, anonymous: httpx.Client, token: dict[str, str]
) -> None:
    changed = change(anonymous, token, PASSWORD, ANOTHER)
    assert (changed.status_code, changed.headers["cache-control"]) == (200, "no-store")
    assert anonymous.get("/v1/account", headers=token).status_code == 401
    fresh = bearer(changed.json()["access_token"])
    assert anonymous.get("/v1/account", headers=fresh).status_code == 200
    assert sign_in(anonymous, "ada").status_code == 401
    assert sign_in(anonymous, "ada", ANOTHER).status_code == 200
    assert ada.http.get("/v1/account").status_code == 200, "keys stay"


@pytest.mark.parametrize(
    ("current", "new", "field"),
    [
        ("wrong password", ANOTHER, "current_password"),
        (PASSWORD, "tiny", "new_password"),
        (PASSWORD, "x" * 1_025, "new_password"),
        ("x" * 1_025, ANOTHER, "current_password"),
    ],
)
def test_a_password_that_cannot_be_changed_is_refused_by_field(anonymous, token, current, new, field) -> None:
    refused = change(anonymous, token, current, new)
    assert (refused.status_code, field in refused.json()["detail"]) == (422, True)
    assert sign_in(anonymous, "ada").status_code == 200


def test_a_key_changes_no_password(ada: Person) -> None:
    assert change(ada.http, {}, PASSWORD, ANOTHER).status_code == 403


def test_guessing_the_current_password_is_limited_like_signing_in(anonymous, token) -> None:
    statuses = [change(anonymous, token, f"wrong guess {n}", ANOTHER).status_code for n in range(12)]
    assert (statuses[0], statuses[-1], statuses.count(422)) == (422, 429, 10)


@pytest.mark.parametrize("revoke_keys", [False, True])
def test_signing_out_everywhere_ends_every_token_and_on_request_the_keys(
    ada: Person, anonymous: httpx.Client, token: dict[str, str], revoke_keys: bool
) -> None:
    another = bearer(sign_in(anonymous, "ada").json()["access_token"])
    body = {"revoke_keys": True} if revoke_keys else None
    assert anonymous.post("/v1/account/sign-out", headers=token, json=body).status_code == 204
    for ended in (token, another):
        assert anonymous.get("/v1/account", headers=ended).status_code == 401
    assert ada.http.get("/v1/account").status_code == (401 if revoke_keys else 200)
    assert sign_in(anonymous, "ada").status_code == 200


def test_a_key_for_predictions_reads_no_secret_and_no_list_of_keys(make_person, anonymous) -> None:
    runner = make_person("runner", scopes=("predict",))
    paths = ("/v1/webhooks/default/secret", "/v1/account/file-key", "/v1/keys")
    for path in paths:
        refused = runner.http.get(path)
        assert (refused.status_code, "'models'" in refused.json()["detail"]) == (403, True), path
    token = bearer(sign_in(anonymous, "runner").json()["access_token"])
    for path in paths:
        assert anonymous.get(path, headers=token).status_code == 200, path


def test_only_a_token_or_an_administrators_key_rotates(ada: Person, admin: Person) -> None:
    for path in ("/v1/webhooks/default/secret/rotate", "/v1/account/file-key/rotate", "/v1/account/sign-out"):
        assert ada.http.post(path).status_code == 403
        assert admin.http.post(path).status_code in (200, 204)


def test_a_rotated_webhook_secret_signs_beside_the_one_before_for_a_day(anonymous, token) -> None:
    before = anonymous.get("/v1/webhooks/default/secret", headers=token).json()
    assert set(before) == {"key"}, "as Replicate answers"
    rotated = anonymous.post("/v1/webhooks/default/secret/rotate", headers=token).json()
    assert rotated["key"].startswith("whsec_")
    assert rotated["key"] != before["key"] == rotated["previous_key"]
    assert anonymous.get("/v1/webhooks/default/secret", headers=token).json() == rotated
    again = anonymous.post("/v1/webhooks/default/secret/rotate", headers=token)
    assert again.status_code == 409, "a repeated call must not end the secret that receivers have"
    now = anonymous.post(
        "/v1/webhooks/default/secret/rotate", headers=token, json={"overlap_hours": 0}
    ).json()
    assert set(now) == {"key"}
    assert now["key"] not in (before["key"], rotated["key"])
    too_long = anonymous.post("/v1/webhooks/default/secret/rotate", headers=token, json={"overlap_hours": 25})
    assert (too_long.status_code, "overlap_hours" in too_long.json()["detail"]) == (422, True)


def test_links_to_files_have_a_key_of_their_own_and_end_with_it(ada, anonymous, token) -> None:
    file_id = ada.http.post("/v1/files", files={"content": ("a.txt", b"hello", "text/plain")}).json()["id"]
    expiry = int(time.time()) + 60

    def status(key: str) -> int:
        text = f"ada {file_id} {expiry}".encode()
        signature = base64.b64encode(hmac.digest(key.encode(), text, "sha256")).decode()
        link = {"owner": "ada", "expiry": expiry, "signature": signature}
        return anonymous.get(f"/v1/files/{file_id}/download", params=link).status_code

    key = ada.http.get("/v1/account/file-key").json()["key"]
    webhook_secret = ada.http.get("/v1/webhooks/default/secret").json()["key"]
    assert (status(key), status(webhook_secret)) == (200, 404)
    rotated = anonymous.post("/v1/account/file-key/rotate", headers=token).json()["key"]
    assert (status(key), status(rotated)) == (404, 200)


def test_every_change_of_a_credential_is_in_the_audit_log(admin: Person, ada, anonymous, token) -> None:
    change(anonymous, token, "wrong password", ANOTHER)
    fresh = bearer(change(anonymous, token, PASSWORD, ANOTHER).json()["access_token"])
    anonymous.post("/v1/webhooks/default/secret/rotate", headers=fresh)
    anonymous.post("/v1/account/file-key/rotate", headers=fresh)
    anonymous.post("/v1/account/sign-out", headers=fresh)
    admin.http.post("/v1/users", json={"email": "eva@example.com", "username": "eva"})
    for patch in ({"is_admin": True}, {"is_admin": False}, {"disabled": True}):
        admin.http.patch("/v1/users/eva", json=patch)
    admin.http.put("/v1/users/eva/password")
    admin.http.post("/v1/users/eva/sign-out")
    admin.http.delete("/v1/users/eva")

    def log() -> dict[str, str]:
        entries = admin.http.get("/v1/audit").json()["results"]
        return {entry["action"]: entry["target"] for entry in entries}

    own = "password.change_failed password.changed webhook_secret.rotated file_key.rotated account.signed_out"
    administered = (
        "user.created user.promoted user.demoted user.disabled password.reset user.signed_out user.deleted"
    )
    expected = dict.fromkeys(own.split(), "ada") | dict.fromkeys(administered.split(), "eva")
    eventually(lambda: log().items() >= expected.items())
    whole = admin.http.get("/v1/audit").text
    assert not any(secret in whole for secret in (PASSWORD, ANOTHER, "whsec_", "lfk_"))
