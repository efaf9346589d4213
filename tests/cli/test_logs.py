"""`lovage logs`: the latest lines of the programs' files, and how they grow."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app as lovage
from app.cli import logs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "api.log").write_text("first r1\nsecond r2\nthird r1\n")
    (tmp_path / "logs" / "worker-cpu.log").write_text("begun r1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), ["first r1", "second r2", "third r1", "begun r1"]),
        (("api", "-n", "1"), ["third r1"]),
        (("--text", "r1"), ["first r1", "third r1", "begun r1"]),
    ],
)
def test_the_latest_lines_are_shown(folder: Path, arguments: tuple[str, ...], shown: list[str]) -> None:
    done = CliRunner().invoke(lovage, ["logs", "--data", str(folder), *arguments])
    assert [line.partition(" | ")[2] for line in done.output.splitlines()] == shown


def test_a_name_that_no_log_has_is_refused_with_those_that_there_are(folder: Path) -> None:
    done = CliRunner().invoke(lovage, ["logs", "--data", str(folder), "clock"])
    assert (done.exit_code, "api, worker-cpu" in done.output) == (2, True)


def test_only_whole_lines_are_followed_and_a_file_that_was_cut_from_its_start(folder: Path) -> None:
    path = folder / "logs" / "api.log"
    with path.open("rb") as file:
        file.seek(0, 2)
        path.write_bytes(path.read_bytes() + b"whole\nhalf")
        assert logs._new_lines(path, file) == ["whole"]
        path.write_text("cut\n")
        assert logs._new_lines(path, file) == ["cut"]
