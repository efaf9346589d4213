"""`lovage apply`: a platform's models are what a deployment's file says, however often it is applied."""

from pathlib import Path

import pytest
from api_people import Person
from typer.testing import Result

from app.setting_sources import DEPLOYMENT_FILE


@pytest.fixture(autouse=True)
def no_file_is_left_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEPLOYMENT_FILE, "")


def printed(done: Result) -> list[str]:
    """Without what the API, in the same process, writes to its log."""
    return [line for line in done.output.splitlines() if " audit " not in line]


def write(folder: Path, config: str, more: str = "") -> str:
    path = folder / "lovage.yaml"
    path.write_text(f"models: [{{name: echo, runtime: echo, config: {{{config}}}{more}}}]")
    return str(path)


def test_models_are_registered_changed_and_taken_back(run_as, ada: Person, tmp_path: Path) -> None:
    run = run_as(ada)
    [first] = printed(run("apply", write(tmp_path, "joins: true", ", description: Says it.")))
    assert first.startswith("ada/echo: registered as ")
    version = first.split()[-1]
    assert printed(run("apply", str(tmp_path / "lovage.yaml"))) == [f"ada/echo: is {version} already"]
    [second] = printed(run("apply", write(tmp_path, "joins: false", ", public: true")))
    assert second.endswith("is its version now")
    model = ada.http.get("/v1/models/ada/echo").json()
    assert (model["visibility"], model["description"]) == ("public", "Says it.")
    assert model["latest_version"]["id"] in second
    back = run("apply", write(tmp_path, "joins: true"))
    assert printed(back) == [f"ada/echo: {version} is its version now"]
    model = ada.http.get("/v1/models/ada/echo").json()
    assert (model["visibility"], model["latest_version"]["id"]) == ("private", version)


def test_one_that_is_refused_is_named_and_the_others_are_registered(
    run_as, ada: Person, tmp_path: Path
) -> None:
    path = tmp_path / "lovage.yaml"
    path.write_text(
        "models: [{name: a, runtime: nothing}, {name: bob/x, runtime: echo}, {name: b, runtime: echo}]"
    )
    done = run_as(ada)("apply", str(path))
    lines = printed(done)
    assert (done.exit_code, len(lines)) == (1, 3)
    assert "is not known here" in lines[0]
    assert "your own username" in lines[1]
    assert lines[2].startswith("ada/b: registered as ")
