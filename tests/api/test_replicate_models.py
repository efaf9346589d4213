"""Models, versions, pages and examples as Replicate's clients depend on them."""

import re
from typing import Any

from api_hand_worker import HandWorker
from api_people import Person
from model_folders import write_model
from packaging.version import Version
from replicate_tables import DONE, MISSING, Row, all_rows_hold, ended, moment, text, under, url, wrong

MODEL: dict[str, Any] = {
    "url": url,
    "owner": "ada",
    "name": "echo",
    "visibility": "public",
    "run_count": lambda found: type(found) is int,
    "description": None,
    "github_url": None,
    "paper_url": None,
    "license_url": None,
    "cover_image_url": None,
    "default_example": None,
}


VERSION: dict[str, Any] = {
    "id": re.compile(r"[0-9a-f]{64}").fullmatch,
    "created_at": moment,
    "cog_version": lambda found: Version(found) >= Version("0.3.9"),
    "openapi_schema.openapi": text,
    "openapi_schema.components.schemas.Input.properties.text.x-order": 0,
    "openapi_schema.components.schemas.Input.properties.chunks.maximum": lambda found: type(found) is int,
    "openapi_schema.components.schemas.Output": lambda found: isinstance(found, dict),
}


def test_models_and_versions(ada: Person, echo: dict) -> None:
    version, patch = (
        echo["latest_version"]["id"],
        {"description": "Says it again", "weights_url": "https://example.com/w"},
    )
    words: dict[str, Any] = {"content": "ECH", "headers": {"Content-Type": "text/plain"}}
    page = {
        "previous": None,
        "next": None,
        **under("results.0", MODEL),
        **under("results.0.latest_version", VERSION),
    }
    new = {
        "owner": "ada",
        "name": "new",
        "visibility": "private",
        "hardware": "cpu",
        "license_url": "https://example.com/l",
    }
    rows: list[Row] = [
        ("GET", "/v1/models", None, 200, page),
        ("QUERY", "/v1/models", words, 200, page),
        ("QUERY", "/v1/models", words | {"content": "nothing like it"}, 200, {"results": []}),
        ("GET", "/v1/models/ada/echo", None, 200, MODEL | under("latest_version", VERSION)),
        (
            "GET",
            "/v1/models/ada/echo/versions",
            None,
            200,
            under("results.0", VERSION) | {"next": None, "previous": None},
        ),
        ("GET", f"/v1/models/ada/echo/versions/{version}", None, 200, VERSION),
        ("GET", f"/v1/models/ada/echo/versions/{'0' * 64}", None, 404, {"detail": text, "status": 404}),
        ("GET", "/v1/models/ada/echo/examples", None, 200, {"results": [], "next": None, "previous": None}),
        ("GET", "/v1/models/ada/none", None, 404, {"detail": text, "status": 404}),
        (
            "POST",
            "/v1/models",
            {"json": new},
            201,
            {"url": url, "latest_version": None, "license_url": "https://example.com/l"},
        ),
        ("POST", "/v1/models", {"json": new}, 409, {"detail": text, "status": 409}),
        (
            "PATCH",
            "/v1/models/ada/echo",
            {"json": patch},
            200,
            {"description": "Says it again", "name": "echo"},
        ),
        (
            "PATCH",
            "/v1/models/ada/echo",
            {"json": {"readme": "# Echo"}},
            200,
            {"description": "Says it again"},
        ),
        (
            "DELETE",
            f"/v1/models/ada/echo/versions/{version}",
            None,
            204,
            {},
        ),  # Replicate: 202, which one client takes for a no
        ("DELETE", "/v1/models/ada/new", None, 204, {}),
    ]
    all_rows_hold(ada, rows)
    readme = ada.http.get("/v1/models/ada/echo/readme")
    assert (readme.text, readme.headers["content-type"].partition(";")[0]) == ("# Echo", "text/plain")


def test_text_models_say_that_their_output_is_a_text_in_pieces(ada: Person, api_settings: Any) -> None:
    folder = api_settings.model_root_folders[1] / "protocol"
    write_model(folder, {"architectures": ["GPT2LMHeadModel"]})
    output = ada.model("gpt", source="path:protocol", runtime="")["latest_version"]["openapi_schema"][
        "components"
    ]["schemas"]
    wanted = {
        "type": "array",
        "items.type": "string",
        "x-cog-array-type": "iterator",
        "x-cog-array-display": "concatenate",
    }
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


def test_the_owner_chooses_the_example_that_a_model_shows(
    ada: Person, bob: Person, echo: dict, worker: HandWorker, replicate_client
) -> None:
    hooked = {"version": "ada/echo", "input": {"text": "Hi"}, "webhook": "https://example.com/hook"}
    mine = ada.http.post("/v1/predictions", json=hooked, headers={"Prefer": "wait=10"}).json()["id"]
    theirs, failed, other = (
        ended(bob, text="x")["id"],
        ended(ada, fail=True)["id"],
        ada.model("other")["name"],
    )
    elsewhere = ended(ada, f"ada/{other}", text="x")["id"]
    for example in (theirs, failed, elsewhere, "0" * 26, "nonsense", 5):
        refused = ada.http.patch("/v1/models/ada/echo", json={"default_example": example})
        assert (refused.status_code, "default_example" in refused.json()["detail"]) == (422, True), example
    shown = DONE | {"webhook": MISSING, "routing": MISSING, "queue": MISSING}
    rows: list[Row] = [
        (
            "PATCH",
            "/v1/models/ada/echo",
            {"json": {"default_example": mine}},
            200,
            under("default_example", shown),
        ),
        ("GET", "/v1/models/ada/echo", None, 200, under("default_example", shown)),
        ("GET", "/v1/models", None, 200, under("results.1.default_example", shown)),
        ("GET", "/v1/models/ada/echo/examples", None, 200, under("results.0", shown)),
    ]
    all_rows_hold(ada, rows)
    all_rows_hold(bob, [("GET", "/v1/models/ada/echo", None, 200, under("default_example", shown))])
    assert replicate_client(bob).models.get("ada/echo").default_example.id == mine
    cleared = ada.http.patch("/v1/models/ada/echo", json={"default_example": None})
    assert (cleared.status_code, cleared.json()["default_example"]) == (200, None)
