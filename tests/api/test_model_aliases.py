"""Other names of models: set over the API and by the command line, and what they mean then."""

import pytest


def test_an_alias_means_its_model_from_the_moment_it_is_set(admin, ada, bob) -> None:
    ada.model("parrot", visibility="public")
    bare = {"version": "gpt2", "input": {"text": "x"}}
    assert bob.http.post("/v1/predictions", json=bare).status_code == 404
    made = admin.http.put("/v1/model-aliases/gpt2", json={"model": "ada/parrot"})
    assert made.json() == {"name": "gpt2", "model": "ada/parrot", "is_setting": False}
    assert bob.http.post("/v1/predictions", json=bare).json()["model"] == "ada/parrot"
    assert bob.http.get("/v1/models/gpt2").json()["name"] == "parrot"
    ada.model("other", visibility="public")
    assert admin.http.put("/v1/model-aliases/gpt2", json={"model": "ada/other"}).status_code == 200
    assert bob.http.post("/v1/predictions", json=bare).json()["model"] == "ada/other"
    assert admin.http.delete("/v1/model-aliases/gpt2").status_code == 204
    assert bob.http.post("/v1/predictions", json=bare).status_code == 404
    assert admin.http.delete("/v1/model-aliases/gpt2").status_code == 404


def test_an_alias_shows_nobody_a_model_that_is_not_theirs(admin, ada, bob) -> None:
    ada.model("secret")
    assert admin.http.put("/v1/model-aliases/hidden", json={"model": "ada/secret"}).status_code == 200
    assert [each["name"] for each in ada.http.get("/v1/model-aliases").json()["results"]] == ["hidden"]
    assert bob.http.get("/v1/model-aliases").json()["results"] == []
    assert bob.http.get("/v1/model-aliases/hidden").status_code == 404
    refused = bob.http.post("/v1/predictions", json={"version": "hidden", "input": {}})
    assert (refused.status_code, "secret" in refused.text) == (404, False)


@pytest.mark.parametrize(
    ("name", "model", "status", "named"),
    [
        ("Bad Name", "ada/parrot", 422, "name"),
        ("fine", "ada/nothing", 422, "model"),
        ("fine", "parrot", 422, "model"),
        ("small", "ada/parrot", 409, "MODEL_ALIASES"),
    ],
)
def test_what_is_wrong_with_an_alias_is_named(
    start_server, admin, ada, name: str, model: str, status: int, named: str
) -> None:
    ada.model("parrot", visibility="public")
    server = start_server(model_aliases="small=ada/parrot")
    refused = admin.http.put(f"{server.url}/v1/model-aliases/{name}", json={"model": model})
    assert (refused.status_code, named in refused.json()["detail"]) == (status, True)
    assert ada.http.put("/v1/model-aliases/mine", json={"model": "ada/parrot"}).status_code == 403
    listed = ada.http.get(f"{server.url}/v1/model-aliases").json()["results"]
    assert listed == [{"name": "small", "model": "ada/parrot", "is_setting": True}]


def test_the_command_line_takes_bare_names_and_aliases(run_as, admin, ada) -> None:
    ada.model("parrot", visibility="public")
    run = run_as(admin)
    assert "No aliases yet" in run("models", "alias").output
    assert "gpt2 means ada/parrot\n" in run("models", "alias", "gpt2", "ada/parrot").output
    assert "gpt2 │ ada/parrot" in " ".join(run("models", "alias").output.split())
    assert "gpt2 means ada/parrot\n" in run("models", "alias", "gpt2").output
    assert "ada/parrot" in run("models", "show", "gpt2").output
    assert run("models", "versions", "gpt2").exit_code == 0
    assert "gpt2 removed\n" in run("models", "alias", "gpt2", "--rm").output
    assert run("models", "alias", "--rm").exit_code == 2
    assert run("models", "show", "gpt2").exit_code == 1
