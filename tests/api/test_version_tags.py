"""Tags of versions: set over the API and by the command line, and what they mean then."""

import pytest


@pytest.fixture
def versions(ada) -> list[str]:
    """Two versions of ada/parrot, the older first."""
    first = ada.model("parrot")["latest_version"]["id"]
    more = {"runtime": "echo", "config": {"rows": 2}}
    return [first, ada.http.post("/v1/models/ada/parrot/versions", json=more).json()["id"]]


def test_a_tag_means_its_version_until_it_is_moved(ada, versions: list[str]) -> None:
    old, new = versions
    assert ada.http.put("/v1/models/ada/parrot/tags/stable", json={"version": old}).json()["version"] == old
    for named in ("ada/parrot:stable", "parrot:stable"):
        assert ada.run(named, text="x")["version"] == old
    assert ada.run("parrot:latest", text="x")["version"] == new
    assert ada.run("ada/parrot:latest", text="x")["version"] == new
    assert ada.http.get("/v1/models/ada/parrot/versions/stable").json()["id"] == old
    assert ada.http.put("/v1/models/ada/parrot/tags/stable", json={"version": new}).status_code == 200
    assert ada.run("ada/parrot:stable", text="x")["version"] == new
    assert ada.http.put("/v1/models/ada/parrot/tags/beta", json={"version": "stable"}).status_code == 200
    listed = ada.http.get("/v1/models/ada/parrot/tags").json()["results"]
    assert [(tag["name"], tag["version"]) for tag in listed] == [("beta", new), ("stable", new)]
    assert ada.http.delete("/v1/models/ada/parrot/tags/stable").status_code == 204
    gone = {"version": "ada/parrot:stable", "input": {}}
    assert ada.http.post("/v1/predictions", json=gone).status_code == 404


def test_a_deleted_version_has_no_tags(ada, versions: list[str]) -> None:
    old, _ = versions
    ada.http.put("/v1/models/ada/parrot/tags/stable", json={"version": old})
    assert ada.http.delete("/v1/models/ada/parrot/versions/stable").status_code == 204
    assert ada.http.get("/v1/models/ada/parrot/tags").json()["results"] == []


def test_a_tagged_version_can_be_made_the_current_one(ada, versions: list[str]) -> None:
    old, _ = versions
    ada.http.put("/v1/models/ada/parrot/tags/stable", json={"version": old})
    assert ada.http.post("/v1/models/ada/parrot/versions/stable/current").json()["id"] == old
    assert ada.run("ada/parrot", text="x")["version"] == old


@pytest.mark.parametrize(
    ("tag", "version", "named"),
    [("latest", "", "tag"), ("Bad Tag", "", "tag"), ("f" * 64, "", "tag"), ("fine", "0" * 64, "version")],
)
def test_what_is_wrong_with_a_tag_is_named(
    ada, bob, versions: list[str], tag: str, version: str, named: str
) -> None:
    body = {"version": version or versions[0]}
    refused = ada.http.put(f"/v1/models/ada/parrot/tags/{tag}", json=body)
    assert (refused.status_code, refused.json()["detail"].startswith(named)) == (422, True)
    assert bob.http.put("/v1/models/ada/parrot/tags/mine", json=body).status_code == 404
    assert ada.http.delete("/v1/models/ada/parrot/tags/none").status_code == 404


def test_clients_of_other_protocols_name_versions_by_tags(ada, versions: list[str]) -> None:
    old, _ = versions
    ada.http.put("/v1/models/ada/parrot/tags/stable", json={"version": old})
    metadata = ada.http.get("/v2/models/parrot/versions/stable").json()
    assert metadata["versions"] == [old]


def test_the_command_line_tags_versions(run_as, ada, versions: list[str]) -> None:
    old, new = versions
    run = run_as(ada)
    assert "No tags yet" in run("models", "tag", "ada/parrot").output
    assert run("models", "tag", "ada/parrot", "cafe").exit_code == 2
    assert f"ada/parrot:cafe is {old} now\n" in run("models", "tag", f"parrot:{old[:12]}", "cafe").output
    listed = " ".join(run("models", "versions", "ada/parrot").output.split())
    assert f"{old[:12]} │ cafe │" in listed
    assert f"cafe │ {old[:12]}" in " ".join(run("models", "tag", "ada/parrot").output.split())
    assert f"ada/parrot is {old} now" in run("models", "release", "ada/parrot:cafe").output
    assert f"ada/parrot:next is {new} now\n" in run("models", "tag", f"ada/parrot:{new}", "next").output
    assert "ada/parrot:cafe removed\n" in run("models", "tag", "ada/parrot", "cafe", "--rm").output
