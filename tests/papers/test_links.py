"""Links between the papers lead somewhere, the index is complete, and the files that they name exist."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAPERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
DIAGRAMS = ("flowchart", "sequenceDiagram", "stateDiagram-v2")
OF_OTHERS = {"predictor.py"}  # what a model's folder holds
FOLDERS = ("app", "examples", "scripts", "tests", "alembic")


def name_of(paper: Path) -> str:
    return str(paper.relative_to(ROOT))


def prose(paper: Path) -> str:
    return FENCE.sub("", paper.read_text())


def anchors(paper: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(paper), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("paper", PAPERS, ids=name_of)
def test_links_between_the_papers_lead_somewhere(paper: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", prose(paper)):
        other = paper.parent / target if target else paper
        assert other.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(other), f"{target} has no heading for #{anchor}"


def test_the_index_names_every_paper() -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", (DOCS / "README.md").read_text())
    linked = {(DOCS / target).resolve() for target in targets}
    assert [name_of(paper) for paper in DOCS.rglob("*.md") if paper.resolve() not in linked] == [
        "docs/README.md"
    ]


def files() -> set[str]:
    return {str(file.relative_to(ROOT)) for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")}


@pytest.mark.parametrize("paper", PAPERS, ids=name_of)
def test_python_files_that_a_paper_names_exist(paper: Path) -> None:
    """`app/` may be left out, and in a table of one room its folders, too."""
    existing = files()
    for name in set(re.findall(r"`([\w/]+\.py)`", paper.read_text())) - OF_OTHERS:
        assert any(file == name or file.endswith("/" + name) for file in existing), f"there is no {name}"


@pytest.mark.parametrize(("page", "room"), [("celery.md", "broker"), ("engine.md", "engine")])
def test_the_page_of_a_room_names_every_file_of_it(page: str, room: str) -> None:
    text = (DOCS / "architecture" / page).read_text()
    names = {file.name for file in (ROOT / "app" / room).glob("*.py")} - {"__init__.py"}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


@pytest.mark.parametrize("paper", PAPERS, ids=name_of)
def test_tests_that_a_paper_names_exist(paper: Path) -> None:
    defined = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(), re.M)
    }
    for name in re.findall(r"`(test_\w+)`", paper.read_text()):
        assert name in defined, f"there is no {name}"


@pytest.mark.parametrize("paper", PAPERS, ids=name_of)
def test_folders_of_tests_that_a_paper_names_exist(paper: Path) -> None:
    for name in re.findall(r"`((?:tests|app|docs|scripts)/[\w/]*/)`", paper.read_text()):
        assert (ROOT / name).is_dir(), f"there is no {name}"


def test_the_overview_shows_the_layers_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "rooms")
    overview = (DOCS / "architecture" / "overview.md").read_text()
    (shown,) = re.findall(r"<!-- layers -->\n```text\n(.*?)\n```\n<!-- end of layers -->", overview, re.S)
    assert shown.split("\n") == layers


@pytest.mark.parametrize("paper", PAPERS, ids=name_of)
def test_every_diagram_is_of_a_kind_that_github_draws(paper: Path) -> None:
    for block in re.findall(r"^```mermaid\n(.*?)^```", paper.read_text(), re.M | re.S):
        assert block.startswith(DIAGRAMS)
        assert ";" not in block, "a semicolon ends a line of Mermaid"
