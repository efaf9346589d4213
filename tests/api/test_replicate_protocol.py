"""Replicate's HTTP API as its clients depend on it: a row for each endpoint, field, header, status and form of error.

Left out are trainings and collections. Where we differ on purpose, the row says how.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest
from api_hand_worker import HandWorker
from api_people import Person, Server
from packaging.version import Version
from replicate.client import Client

from app.api.rest.wire import UrlsOut

Check = Callable[[Any], Any]
MISSING = "(left out)"


def text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def moment(value: Any) -> bool:
    return text(value) and value.endswith("Z") and datetime.fromisoformat(value).tzinfo is not None


def url(value: Any) -> bool:
    return text(value) and value.startswith("http://127.0.0.1:")


def seconds(value: Any) -> bool:
    return isinstance(value, float | int) and 0 <= value < 60


def at(body: Any, path: str) -> Any:
    """`a.b.0.c` of a JSON value."""
    for step in path.split("."):
        if isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        elif isinstance(body, dict) and step in body:
            body = body[step]
        else:
            return MISSING
    return body


def fits(found: Any, wanted: Any) -> bool:
    return bool(wanted(found)) if callable(wanted) else found == wanted and type(found) is type(wanted)


def wrong(found: dict[str, Any] | httpx.Headers, table: dict[str, Any]) -> list[str]:
    """A line for each row of the table that the answer does not have."""
    rows = ((name, found.get(name) if isinstance(found, httpx.Headers) else at(found, name)) for name in table)
    return [f"{name}: {value!r}" for name, value in rows if not fits(value, table[name])]


Row = tuple[str, str, Any, int, dict[str, Any]]


def all_rows_hold(person: Person, rows: list[Row]) -> None:
    """(method, path, what is sent, status, fields of the answer): every row is tried before any is told."""
    failures = []
    for method, path, sent, status, fields in rows:
        answer = person.http.request(method, path, **(sent or {}))
        if answer.status_code != status:
            failures.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        elif bad := wrong(answer.json() if fields else {}, fields):
            failures.append(f"{method} {path}: {bad}")
    assert not failures, "\n".join(failures)


def ended(person: Person, model: str = "ada/echo", **given: Any) -> dict[str, Any]:
    answer = person.http.post("/v1/predictions", headers={"Prefer": "wait=30"}, json={"version": model, "input": given})
    assert answer.json()["status"] in ("succeeded", "failed"), answer.text
    return dict(answer.json())


WAITING: dict[str, Any] = {
    "id": text, "model": "ada/echo", "version": re.compile(r"[0-9a-f]{64}").fullmatch, "status": "starting",
    "input": lambda found: isinstance(found, dict), "output": None, "error": None, "logs": "", "metrics": {},
    "created_at": moment, "started_at": None, "completed_at": None, "source": "api", "data_removed": False,
    "urls.get": url, "urls.cancel": lambda found: url(found) and found.endswith("/cancel"), "urls.web": url,
    "urls.stream": lambda found: "/v1/streams/" in found, "deployment": MISSING, "deadline": MISSING,
}  # fmt: skip
DONE: dict[str, Any] = WAITING | {
    "status": "succeeded", "output": "Hi", "started_at": moment, "completed_at": moment,
    "metrics.predict_time": seconds, "metrics.total_time": seconds, "metrics": lambda found: isinstance(found, dict),
}  # fmt: skip


def test_predictions(ada: Person, echo: dict, worker: HandWorker) -> None:
    done = ended(ada, text="Hi")
    version, one = done["version"], f"/v1/predictions/{done['id']}"
    assert not wrong(done, DONE)
    given: dict[str, Any] = {"input": {"text": "x"}}
    legacy = {"stream": True, "webhook_completed": "https://example.com/hook"}
    hook = {"webhook": "https://example.com/hook", "webhook_events_filter": ["start", "output", "logs", "completed"]}
    page = {"previous": None, "next": None, "results.0.id": text, "results.0.urls.web": url}
    rows: list[Row] = [
        ("POST", "/v1/predictions", {"json": {"version": version} | given}, 201, WAITING),
        ("POST", "/v1/predictions", {"json": {"version": "ada/echo"} | given}, 201, WAITING),
        ("POST", "/v1/predictions", {"json": {"version": f"ada/echo:{version}"} | given}, 201, WAITING),
        ("POST", "/v1/predictions", {"json": {"version": version} | given | legacy}, 201, WAITING),
        ("POST", "/v1/predictions", {"json": {"version": version} | given | hook}, 201, WAITING),
        ("POST", "/v1/models/ada/echo/predictions", {"json": given}, 201, WAITING),
        ("POST", "/v1/predictions", {"json": {"version": version} | given, "headers": {"Cancel-After": "1m"}}, 201,
         WAITING | {"deadline": moment}),
        ("POST", "/v1/predictions", {"json": {"version": version} | given, "headers": {"Prefer": "respond-async"}}, 201, WAITING),
        ("GET", one, None, 200, DONE),
        ("POST", one + "/cancel", None, 200, DONE),
        ("GET", "/v1/predictions", None, 200, page),
        ("GET", "/v1/predictions?created_after=2020-01-01T00:00:00Z&created_before=2999-01-01T00:00:00Z", None, 200, page),
        ("GET", "/v1/predictions?created_before=2020-01-01T00:00:00Z", None, 200, {"results": []}),
        ("GET", f"/v1/predictions/{'0' * 26}", None, 404, {"detail": text, "status": 404}),
        ("POST", f"/v1/predictions/{'0' * 26}/cancel", None, 404, {"detail": text, "status": 404}),
    ]  # fmt: skip
    all_rows_hold(ada, rows)


def test_what_a_prediction_that_failed_says(ada: Person, echo: dict, worker: HandWorker) -> None:
    found = ended(ada, fail=True)
    assert not wrong(found, {"status": "failed", "error": text, "output": None, "completed_at": moment, "error_code": text})


def test_headers_of_a_creation(start_server: Callable[..., Server], ada: Person, echo: dict, worker: HandWorker) -> None:
    wanted = {
        "location": re.compile(r"http://127\.0\.0\.1:\d+/v1/predictions/\w{26}").fullmatch, "preference-applied": "wait=10",
        "ratelimit-remaining": str.isdecimal, "ratelimit-reset": str.isdecimal, "x-request-id": text,
        "content-type": "application/json",
    }  # fmt: skip
    limited = start_server(rate_limit_creates="100/minute", rate_limit_calls="1000/minute")
    body = {"version": "ada/echo", "input": {"text": "x"}}
    headers = {"Authorization": f"Bearer {ada.key}", "Prefer": "wait=10"}
    answer = httpx.post(f"{limited.url}/v1/predictions", json=body, headers=headers, trust_env=False)
    assert not wrong(answer.headers, wanted)


@pytest.mark.parametrize(("prefer", "applied"), [("wait", "wait=60"), ("wait=5", "wait=5"), ("wait=90", "wait=60")])
def test_a_wait_is_between_1_and_60_seconds(ada: Person, echo: dict, worker: HandWorker, prefer: str, applied: str) -> None:
    body = {"version": "ada/echo", "input": {"text": "x"}}
    answer = ada.http.post("/v1/predictions", json=body, headers={"Prefer": prefer})
    assert answer.headers["preference-applied"] == applied
    assert answer.json()["status"] == "succeeded"


def test_a_wait_that_runs_out_says_starting_and_the_output_grows(ada: Person, echo: dict, worker: HandWorker) -> None:
    wanted = {"version": "ada/echo", "input": {"text": "a", "chunks": 3, "seconds": 2}}
    answer = ada.http.post("/v1/predictions", json=wanted, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"], answer.json()["output"]) == (201, "starting", None)
    found = ada.http.get(answer.json()["urls"]["get"]).json()
    assert (found["status"], found["output"]) == ("processing", ["a", "a", "a"])


MODEL: dict[str, Any] = {
    "url": url, "owner": "ada", "name": "echo", "visibility": "public", "run_count": lambda found: type(found) is int,
    "description": None, "github_url": None, "paper_url": None, "license_url": None, "cover_image_url": None,
    "default_example": None,
}  # fmt: skip
VERSION: dict[str, Any] = {
    "id": re.compile(r"[0-9a-f]{64}").fullmatch, "created_at": moment,
    "cog_version": lambda found: Version(found) >= Version("0.3.9"), "openapi_schema.openapi": text,
    "openapi_schema.components.schemas.Input.properties.text.x-order": 0,
    "openapi_schema.components.schemas.Input.properties.chunks.maximum": lambda found: type(found) is int,
    "openapi_schema.components.schemas.Output": lambda found: isinstance(found, dict),
}  # fmt: skip


def under(prefix: str, table: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": wanted for name, wanted in table.items()}


def test_models_and_versions(ada: Person, echo: dict) -> None:
    version, patch = echo["latest_version"]["id"], {"description": "Says it again", "weights_url": "https://example.com/w"}
    words: dict[str, Any] = {"content": "ECH", "headers": {"Content-Type": "text/plain"}}
    page = {"previous": None, "next": None, **under("results.0", MODEL), **under("results.0.latest_version", VERSION)}
    new = {"owner": "ada", "name": "new", "visibility": "private", "hardware": "cpu", "license_url": "https://example.com/l"}
    rows: list[Row] = [
        ("GET", "/v1/models", None, 200, page),
        ("QUERY", "/v1/models", words, 200, page),
        ("QUERY", "/v1/models", words | {"content": "nothing like it"}, 200, {"results": []}),
        ("GET", "/v1/models/ada/echo", None, 200, MODEL | under("latest_version", VERSION)),
        ("GET", "/v1/models/ada/echo/versions", None, 200, under("results.0", VERSION) | {"next": None, "previous": None}),
        ("GET", f"/v1/models/ada/echo/versions/{version}", None, 200, VERSION),
        ("GET", f"/v1/models/ada/echo/versions/{'0' * 64}", None, 404, {"detail": text, "status": 404}),
        ("GET", "/v1/models/ada/echo/examples", None, 200, {"results": [], "next": None, "previous": None}),
        ("GET", "/v1/models/ada/none", None, 404, {"detail": text, "status": 404}),
        ("POST", "/v1/models", {"json": new}, 201, {"url": url, "latest_version": None, "license_url": "https://example.com/l"}),
        ("POST", "/v1/models", {"json": new}, 409, {"detail": text, "status": 409}),
        ("PATCH", "/v1/models/ada/echo", {"json": patch}, 200, {"description": "Says it again", "name": "echo"}),
        ("PATCH", "/v1/models/ada/echo", {"json": {"readme": "# Echo"}}, 200, {"description": "Says it again"}),
        ("DELETE", f"/v1/models/ada/echo/versions/{version}", None, 204, {}),  # Replicate: 202, which one client takes for a no
        ("DELETE", "/v1/models/ada/new", None, 204, {}),
    ]  # fmt: skip
    all_rows_hold(ada, rows)
    readme = ada.http.get("/v1/models/ada/echo/readme")
    assert (readme.text, readme.headers["content-type"].partition(";")[0]) == ("# Echo", "text/plain")


def test_text_models_say_that_their_output_is_a_text_in_pieces(ada: Person, api_settings: Any) -> None:
    folder = api_settings.model_root_folders[1] / "protocol"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    (folder / "model.safetensors").write_bytes(b"x")
    output = ada.model("gpt", source="path:protocol", runtime="")["latest_version"]["openapi_schema"]["components"]["schemas"]
    wanted = {"type": "array", "items.type": "string", "x-cog-array-type": "iterator", "x-cog-array-display": "concatenate"}
    assert not wrong(output["Output"], wanted)


def test_pages_are_whole_urls_and_lead_there_and_back(ada: Person) -> None:
    for number in range(3):
        ada.model(f"m{number}")
    first = ada.http.get("/v1/models?limit=2").json()
    assert first["previous"] is None
    assert url(first["next"])
    assert "cursor=" in first["next"]
    second = ada.http.get(first["next"]).json()
    assert [one["name"] for one in second["results"]] == ["m0"]
    assert second["next"] is None
    assert [one["name"] for one in ada.http.get(second["previous"]).json()["results"]] == ["m2", "m1"]


def test_the_owner_chooses_the_example_that_a_model_shows(ada: Person, bob: Person, echo: dict, worker: HandWorker) -> None:
    hooked = {"version": "ada/echo", "input": {"text": "Hi"}, "webhook": "https://example.com/hook"}
    mine = ada.http.post("/v1/predictions", json=hooked, headers={"Prefer": "wait=10"}).json()["id"]
    theirs, failed, other = ended(bob, text="x")["id"], ended(ada, fail=True)["id"], ada.model("other")["name"]
    elsewhere = ended(ada, f"ada/{other}", text="x")["id"]
    for example in (theirs, failed, elsewhere, "0" * 26, "nonsense", 5):
        refused = ada.http.patch("/v1/models/ada/echo", json={"default_example": example})
        assert (refused.status_code, "default_example" in refused.json()["detail"]) == (422, True), example
    shown = DONE | {"webhook": MISSING, "routing": MISSING, "queue": MISSING}
    rows: list[Row] = [
        ("PATCH", "/v1/models/ada/echo", {"json": {"default_example": mine}}, 200, under("default_example", shown)),
        ("GET", "/v1/models/ada/echo", None, 200, under("default_example", shown)),
        ("GET", "/v1/models", None, 200, under("results.1.default_example", shown)),
        ("GET", "/v1/models/ada/echo/examples", None, 200, under("results.0", shown)),
    ]
    all_rows_hold(ada, rows)
    all_rows_hold(bob, [("GET", "/v1/models/ada/echo", None, 200, under("default_example", shown))])
    assert Client(api_token=bob.key, base_url=ada.http.base_url).models.get("ada/echo").default_example.id == mine
    cleared = ada.http.patch("/v1/models/ada/echo", json={"default_example": None})
    assert (cleared.status_code, cleared.json()["default_example"]) == (200, None)


FILE: dict[str, Any] = {
    "id": text, "name": "a.txt", "content_type": "text/plain", "size": 5, "etag": text,
    "created_at": moment, "expires_at": moment, "checksums.sha256": hashlib.sha256(b"hello").hexdigest(),
    "checksums.md5": text, "metadata": {"k": 1}, "urls.get": url,
}  # fmt: skip


def test_files(ada: Person) -> None:
    upload = {"files": {"content": ("a.txt", b"hello", "text/plain")}, "data": {"metadata": '{"k": 1}'}}
    part = {"files": {"content": ("a.txt", b"hello", "text/plain"), "metadata": ("blob", b'{"k": 1}', "application/json")}}
    named = {"files": {"content": ("x", b"hello")}, "data": {"filename": "a.txt", "type": "text/plain", "metadata": '{"k": 1}'}}
    made = ada.http.post("/v1/files", **upload).json()
    one = f"/v1/files/{made['id']}"
    rows: list[Row] = [
        ("POST", "/v1/files", upload, 201, FILE),
        ("POST", "/v1/files", part, 201, FILE),
        ("POST", "/v1/files", named, 201, FILE),
        ("POST", "/v1/files", {"files": {"content": ("empty", b"")}}, 201, {"size": 0, "metadata": {}}),
        ("GET", one, None, 200, FILE),
        ("GET", "/v1/files", None, 200, {"results.0.etag": text, "results.0.name": text, "next": None, "previous": None}),
        ("DELETE", one, None, 204, {}),
        ("GET", one, None, 404, {"detail": text, "status": 404}),
        ("DELETE", one, None, 404, {"detail": text, "status": 404}),
    ]
    all_rows_hold(ada, rows)
    kept = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert round(kept.total_seconds() / 3600) == 24


def signature(secret: str, *parts: Any) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), " ".join(map(str, parts)).encode(), "sha256")).decode()


def test_a_file_is_downloaded_by_its_owners_signature_alone(ada: Person, anonymous: httpx.Client) -> None:
    made = ada.http.post("/v1/files", files={"content": ("a.txt", b"hello", "text/plain")}).json()
    secret, later = ada.http.get("/v1/webhooks/default/secret").json()["key"], int(time.time()) + 60
    good: dict[str, Any] = {"owner": "ada", "expiry": later, "signature": signature(secret, "ada", made["id"], later)}
    answer = anonymous.get(f"/v1/files/{made['id']}/download", params=good)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"hello", "text/plain")
    url_safe = good | {"signature": good["signature"].translate(str.maketrans("+/", "-_")).rstrip("=")}
    assert anonymous.get(f"/v1/files/{made['id']}/download", params=url_safe).status_code == 200
    past = int(time.time()) - 60
    for change in (
        {"owner": "bob"}, {"expiry": later + 1}, {"signature": "x"}, {"signature": signature("other", "ada", made["id"], later)},
        {"expiry": past, "signature": signature(secret, "ada", made["id"], past)}, {"signature": "\U0001f600é"},
        {"owner": "\x00"},
    ):  # fmt: skip
        assert anonymous.get(f"/v1/files/{made['id']}/download", params=good | change).status_code == 404, change
    assert anonymous.get(f"/v1/files/{'0' * 26}/download", params=good).status_code == 404
    for name in good:
        rest = {key: value for key, value in good.items() if key != name}
        refused = anonymous.get(f"/v1/files/{made['id']}/download", params=rest)
        assert (refused.status_code, name in refused.json()["detail"]) == (422, True)


DEPLOYMENT: dict[str, Any] = {
    "owner": "ada", "name": "prod", "current_release.number": 1, "current_release.model": "ada/echo",
    "current_release.version": re.compile(r"[0-9a-f]{64}").fullmatch, "current_release.created_at": moment,
    "current_release.created_by.type": "user", "current_release.created_by.username": "ada",
    "current_release.created_by.name": "ada",
    "current_release.configuration": {"hardware": "cpu", "min_instances": 0, "max_instances": 2},
}  # fmt: skip


def test_deployments(ada: Person, bob: Person, echo: dict, worker: HandWorker) -> None:
    version = echo["latest_version"]["id"]
    newer = ada.http.post("/v1/models/ada/echo/versions", json={"runtime": "echo", "config": {"rows": 2}}).json()["id"]
    new: dict[str, Any] = {
        "name": "prod", "model": "ada/echo", "version": version, "hardware": "cpu", "min_instances": 0, "max_instances": 2,
    }  # fmt: skip
    one, body = "/v1/deployments/ada/prod", {"input": {"text": "Hi"}}
    wait = {"json": body, "headers": {"Prefer": "wait=10"}}
    release = {"current_release.number": 2, "current_release.version": newer, "current_release.configuration.max_instances": 2}
    refused = {"detail": text, "status": 422, "invalid_fields.0.field": text}
    rows: list[Row] = [
        ("POST", "/v1/deployments", {"json": new}, 201, DEPLOYMENT),
        ("POST", "/v1/deployments", {"json": new}, 409, {"detail": text}),
        ("GET", one, None, 200, DEPLOYMENT),
        ("GET", "/v1/deployments", None, 200, under("results.0", DEPLOYMENT) | {"next": None, "previous": None}),
        ("POST", one + "/predictions", wait, 201, DONE | {"deployment": "ada/prod", "version": version}),
        ("PATCH", one, {"json": {"version": newer}}, 200, release),
        ("PATCH", one, {"json": {"min_instances": 2}}, 200, {"current_release.number": 3}),
        ("PATCH", one, {"json": {"min_instances": 3}}, 422, refused | {"invalid_fields.0.field": "max_instances"}),
        ("PATCH", one, {"json": {"hardware": "gpu-t4"}}, 422, refused | {"invalid_fields.0.field": "hardware"}),
        ("PATCH", one, {"json": {"version": "0" * 64}}, 422, refused | {"invalid_fields.0.field": "version"}),
        ("POST", one + "/predictions", wait, 201, DONE | {"deployment": "ada/prod", "version": newer}),
        ("POST", one + "/predictions", {"json": {"version": version} | body}, 422, refused),
        ("GET", "/v1/predictions", None, 200, {"results.0.deployment": "ada/prod"}),
        ("POST", "/v1/deployments", {"json": {"name": "lean", "model": "ada/echo"}}, 201, {"current_release.version": newer}),
        ("POST", "/v1/deployments", {"json": new | {"name": "A B"}}, 422, refused),
        ("POST", "/v1/deployments", {"json": new | {"model": "ada/none"}}, 422, refused),
        ("POST", "/v1/deployments", {"json": new | {"wings": 2}}, 422, refused),
        ("DELETE", one, None, 204, {}),
        ("GET", one, None, 404, {"detail": text, "status": 404}),
        ("POST", one + "/predictions", {"json": body}, 404, {"detail": text, "status": 404}),
        ("POST", "/v1/deployments", {"json": new}, 201, DEPLOYMENT),
    ]  # fmt: skip
    all_rows_hold(ada, rows)
    foreign: list[Row] = [(method, path, sent, 404, {"detail": text}) for method, path, sent in (
        ("GET", one, None), ("PATCH", one, {"json": {"max_instances": 5}}), ("DELETE", one, None),
        ("POST", one + "/predictions", {"json": body}),
    )]  # fmt: skip
    all_rows_hold(bob, [*foreign, ("GET", "/v1/deployments", None, 200, {"results": []})])


def test_a_deployment_is_made_once_by_an_idempotency_key(ada: Person, echo: dict) -> None:
    sent = {"json": {"name": "prod", "model": "ada/echo"}, "headers": {"Idempotency-Key": "k"}}
    made = [ada.http.post("/v1/deployments", **sent) for _ in range(2)]
    assert [answer.status_code for answer in made] == [201, 201]
    assert made[0].json() == made[1].json()
    assert ada.http.post("/v1/deployments", **sent | {"json": {"name": "other", "model": "ada/echo"}}).status_code == 422
    ada.http.delete("/v1/deployments/ada/prod")
    assert ada.http.post("/v1/deployments", **sent).status_code == 410


def test_a_deployments_hardware_decides_where_it_runs(ada: Person, echo: dict, worker: HandWorker) -> None:
    ada.http.post("/v1/deployments", json={"name": "fast", "model": "ada/echo", "hardware": "cuda"})
    made = ada.http.post("/v1/deployments/ada/fast/predictions", json={"input": {}}).json()
    assert (made["routing"]["queue"], made["status"]) == ("cuda", "starting")


def test_the_rest_of_the_catalogue(ada: Person, worker: HandWorker) -> None:
    rows: list[Row] = [
        ("GET", "/v1/account", None, 200, {"type": "user", "username": "ada", "name": text}),
        ("GET", "/v1/hardware", None, 200, {"0.sku": "cpu", "0.name": text}),
        ("GET", "/v1/webhooks/default/secret", None, 200, {"key": re.compile(r"whsec_[A-Za-z0-9+/]+=*").fullmatch}),
    ]
    all_rows_hold(ada, rows)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "token"])
def test_every_form_of_authorization_is_taken(api: Server, ada: Person, scheme: str) -> None:
    answer = httpx.get(f"{api.url}/v1/account", headers={"Authorization": f"{scheme} {ada.key}"}, trust_env=False)
    assert answer.json()["username"] == "ada"


def test_forms_of_errors(api: Server, ada: Person, anonymous: httpx.Client, echo: dict) -> None:
    one, field = "/v1/predictions", "invalid_fields.0.field"
    forms: list[tuple[httpx.Response, int, dict[str, Any]]] = [
        (anonymous.get(one), 401, {"title": "Unauthenticated"}),
        (anonymous.get(one, headers={"Authorization": "Bearer wrong"}), 401, {"title": "Unauthenticated"}),
        (ada.http.get("/v1/models/ada/none"), 404, {}),
        (ada.http.get("/v1/nothing/here"), 404, {}),
        (ada.http.delete("/v1/account"), 405, {}),
        (ada.http.post(one, json={"version": "ada/echo", "input": {"chunks": "many"}}), 422,
         {"title": "Input validation failed", "detail": re.compile(r"- input\.chunks: .+\n").fullmatch,
          field: "input.chunks", "invalid_fields.0.type": text, "invalid_fields.0.description": text}),
        (ada.http.post(one, json={"version": "ada/echo", "input": {}, "wings": 2}), 422,
         {field: "wings", "invalid_fields.0.description": lambda found: "additional property" in found}),
        # Replicate drops unknown inputs silently; we name them.
        (ada.http.post(one, json={"version": "ada/echo", "input": {"wings": 2}}), 422, {field: "input.wings"}),
        (ada.http.post(one, json={"version": "ada/echo"}), 422, {field: "input"}),
        (ada.http.post(one, json={"version": "0" * 64, "input": {}}), 404, {}),
        (ada.http.post(one, content=b"{"), 422, {}),
        (ada.http.get(one, params={"cursor": "garbage"}), 422, {}),
    ]  # fmt: skip
    failures = []
    for answer, status, fields in forms:
        shape = {"detail": text, "title": text, "status": status, "type": text, "code": text, "request_id": text} | fields
        if answer.status_code != status or answer.headers["content-type"] != "application/problem+json":
            failures.append(f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.headers}")
        elif bad := wrong(answer.json(), shape):
            failures.append(f"{answer.request.method} {answer.request.url}: {bad}")
    assert not failures, "\n".join(failures)


def test_a_throttled_call_says_when_to_come_back(start_server: Callable[..., Server], ada: Person) -> None:
    limited = start_server(rate_limit_calls="1/minute")
    headers = {"Authorization": f"Bearer {ada.key}"}
    answers = [httpx.get(f"{limited.url}/v1/account", headers=headers, trust_env=False) for _ in range(2)]
    assert answers[1].status_code == 429
    assert not wrong(answers[1].json(), {"detail": text, "status": 429})
    assert not wrong(answers[1].headers, {"retry-after": str.isdecimal, "ratelimit-remaining": "0"})


def test_a_stream(ada: Person, echo: dict, worker: HandWorker, anonymous: httpx.Client) -> None:
    where = ended(ada, text=" a\nb", chunks=2)["urls"]["stream"]
    answer = anonymous.get(where, headers={"Accept": "text/event-stream", "Cache-Control": "no-store"})
    assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
    begun, *events = answer.text.strip().split("\n\n")
    assert begun.startswith(":"), "a keep-alive is a comment"
    shapes = [re.sub(r"id: \d{10}:(\d+)", r"id: \1", event) for event in events]
    assert shapes == [
        "event: output\nid: 0\ndata:  a\ndata: b", "event: output\nid: 1\ndata:  a\ndata: b", "event: done\nid: 2\ndata: {}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ("cancel", [("done", '{"reason": "canceled"}')]),
        ("fail", [("error", '{"detail": "It was asked to fail."}'), ("done", '{"reason": "error"}')]),
    ],
)
def test_how_a_stream_ends_otherwise(ada: Person, echo: dict, act: str, told: list, request: pytest.FixtureRequest) -> None:
    made = ada.run("ada/echo", fail=act == "fail")
    if act == "cancel":
        ada.http.post(made["urls"]["cancel"])
    else:
        request.getfixturevalue("worker")
    found = re.findall(r"event: (\w+)\nid: \d+:\d+\ndata: (.*)\n", httpx.get(made["urls"]["stream"], trust_env=False).text)
    assert found == told


def test_the_page_of_a_prediction_is_there_and_gives_nothing_away(ada: Person, echo: dict, anonymous: httpx.Client) -> None:
    made = ada.run("ada/echo", text="my secret")
    page = anonymous.get(made["urls"]["web"])
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "my secret" not in page.text


def test_a_prediction_that_does_not_stream_has_no_stream_url_not_even_a_null() -> None:
    assert UrlsOut(get="g", cancel="c", web="w").model_dump() == {"get": "g", "cancel": "c", "web": "w"}


def test_the_real_client_has_deployments(api: Server, ada: Person, echo: dict, worker: HandWorker) -> None:
    client = Client(api_token=ada.key, base_url=api.url)
    version = echo["latest_version"]["id"]
    given: dict[str, Any] = {"hardware": "cpu", "min_instances": 0, "max_instances": 1}
    made = client.deployments.create(name="ada/prod", model="ada/echo", version=version, **given)
    assert (made.id, made.current_release.version) == ("ada/prod", version)
    assert [one.name for one in client.deployments.list()] == ["prod"]
    prediction = client.deployments.get("ada/prod").predictions.create(input={"text": "Hi"})
    prediction.wait()
    assert prediction.output == "Hi"
    assert client.deployments.predictions.create("ada/prod", {"text": "x"}).status == "starting"
    assert client.deployments.update("ada", "prod", max_instances=3).current_release.configuration.max_instances == 3
    assert client.deployments.delete("ada", "prod") is True
