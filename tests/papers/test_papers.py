"""The papers say what the code does: settings, errors, events, commands, containers."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import EXIT_USAGE, connection
from app.cli import app as lovage
from app.domain import errors, phases, webhooks
from app.observe import metrics
from app.settings import Settings
from scripts import command_page, sdk_page

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text()

NOTED = re.compile(r"note\((?:[^()]|\([^()]*\))*\)")  # calls of `note`, whatever is called within them


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_its_own_words(name: str) -> None:
    assert f"| `{name.upper()}` |" in page("settings.md")
    assert str(Settings.model_fields[name].description) in page("settings.md")


def subclasses(kind: type) -> set[type]:
    return {kind} | {one for child in kind.__subclasses__() for one in subclasses(child)}


def test_every_error_code_is_documented() -> None:
    codes = {kind.code for kind in subclasses(errors.LovageError) if kind is not errors.LovageError}  # type: ignore[attr-defined]
    missing = [code for code in codes if f"`{code}`" not in page("errors.md")]
    assert not missing


def test_every_event_is_documented() -> None:
    for event in (*webhooks.SCHEDULE, "error", "done"):
        assert f"| `{event}` |" in page("events.md")


def test_every_phase_is_documented() -> None:
    for name in (*phases.PHASES, "total_time", "predict_time", "batch_size", "padding", "device"):
        assert f"| `{name}` |" in page("timing.md")


def counted() -> set[str]:
    """The names of all metrics as Prometheus shows them, but for those of its own client."""
    registries = (metrics.EVERYWHERE, metrics.API, metrics.WORKER, metrics.COURIER)
    families = [
        family
        for registry in registries
        for family in registry.collect()
        if family.name.startswith("lovage_")
    ]
    read = [
        name
        for table in (metrics.FLEET, metrics.OF_API, metrics.OF_WORKER, metrics.OF_COURIER)
        for name in table
    ]
    return {family.name + ("_total" if family.type == "counter" else "") for family in families} | set(read)


def test_every_metric_is_documented_and_no_other() -> None:
    names = counted() | set(metrics.RENAMED.values())
    documented = set(re.findall(r"^\| `(lovage_\w+)` \|", page("metrics.md"), re.M))
    assert documented == names
    named = set(re.findall(r"lovage_\w+", page("metrics.md")))
    assert {re.sub("_(count|sum|bucket)$", "", name) for name in named} <= names, (
        "the examples are of metrics that exist"
    )


def test_a_deprecated_metric_is_documented_with_its_successor_and_its_end() -> None:
    rows = re.findall(r"^\| `(lovage_\w+)` \| \w+ \| `(lovage_\w+)` \| ([\d.]+) \|", page("metrics.md"), re.M)
    assert {(new, old, metrics.DROPPED_IN) for new, old in metrics.RENAMED.items()} == {
        (new, old, release) for old, new, release in rows
    }
    assert set(metrics.RENAMED) <= counted(), "the successor exists"


def test_the_reference_of_the_python_client_is_up_to_date() -> None:
    assert sdk_page.page() == sdk_page.TARGET.read_text(), "run: python -m scripts.sdk_page"


def test_every_command_and_exit_code_is_documented() -> None:
    shown = page("commands.md")
    missing = [row for row in command_page.page().splitlines() if row.split(" | ")[0] not in shown]
    assert not missing, "run: python -m scripts.command_page"
    for code in (
        0,
        connection.EXIT_FAILED,
        EXIT_USAGE,
        connection.EXIT_UNREACHABLE,
        connection.EXIT_CANCELED,
    ):
        assert f"| {code} |" in shown


def test_the_example_environment_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, "scripts/env_example.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run: python scripts/env_example.py"


def test_every_act_of_the_audit_log_is_documented() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "app" / "api").rglob("*.py"))
    actions = set(re.findall(r'"((?:[a-z_]+)\.(?:[a-z_]+))"(?=, |\)| if)', "".join(NOTED.findall(sources))))
    assert len(actions) > 20
    security = (ROOT / "docs" / "security.md").read_text()
    assert not [action for action in actions if f"`{action}`" not in security]


def test_the_page_of_version_settings_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, "scripts/version_settings.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run: python scripts/version_settings.py"


def readme_commands(program: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.S)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(program + " ")]


@pytest.mark.parametrize("line", readme_commands("lovage"))
def test_the_readmes_commands_exist(line: str) -> None:
    words = line.split()[1:]
    depth = 2 if words[0] in ("models", "keys") else 1
    done = CliRunner().invoke(lovage, [*words[:depth], "--help"])
    assert done.exit_code == 0, done.output
    for option in re.findall(r" (--?[a-z][a-z-]*)", line):
        assert option in re.sub(r"\x1b\[[0-9;]*m", "", done.output), f"{option} of: {line}"


def test_the_readmes_make_targets_and_the_cards_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    wanted = {line.split()[1] for line in readme_commands("make")}
    wanted |= set(
        [
            "up",
            "down",
            "dev",
            "run-api",
            "run-worker",
            "test",
            "check",
            "fmt",
            "bench",
            "chaos",
            "docker-build",
            "docker-up",
            "docker-down",
            "images",
            "clean",
            "help",
        ]
    )
    assert wanted <= targets


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_and_the_dockerfiles_pass_their_linters() -> None:
    run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    run(str(BIN / "hadolint"), "Dockerfile", "Dockerfile.worker", "Dockerfile.all-in-one")
    rules = "{extends: default, rules: {line-length: {max: 140}, document-start: disable}}"
    run(str(BIN / "yamllint"), "-s", "-d", rules, "docker-compose.yml")


WITHOUT_MODELS = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "diffusers", "accelerate", "safetensors"}:
            raise ImportError(f"{name} is not in the API's image")
sys.meta_path.insert(0, Refuse())
import app.main, app.cli, app.composition_worker, app.worker.process, app.cli.bootstrapping
assert "torch" not in sys.modules
"""


def test_the_api_image_needs_no_model_library() -> None:
    run(sys.executable, "-c", WITHOUT_MODELS)


def test_nothing_that_is_too_big_is_tracked() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(
        [git, "ls-files", "demo_models"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert sum((ROOT / name).stat().st_size for name in names if name.endswith(".safetensors")) <= 12_000_000


def test_the_changelog_has_notes_added_changed_and_fixed_by_release_and_nothing_else() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    kinds = set(re.findall(r"^### (.+)$", changelog, re.M))
    assert kinds == {"Upgrade notes", "Added", "Changed", "Fixed"}
    assert all(
        re.match(r"\d+\.\d+\.\d+$|Unreleased", each) for each in re.findall(r"^## (.+)$", changelog, re.M)
    )


def test_the_table_of_releases_ends_with_the_newest_migration() -> None:
    newest = max(path.name[:4] for path in (ROOT / "alembic" / "versions").glob("0*.py"))
    rows = re.findall(
        r"^\| \d[\d.]+ \| \d{4} to (\d{4}) \|", (ROOT / "docs/operations.md").read_text("utf-8"), re.M
    )
    assert rows[-1] == newest


def test_the_glossary_is_short_and_says_each_word_once() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    words = [word for row in re.findall(r"^\| \*\*(.+?)\*\* \|", glossary, re.M) for word in row.split(", ")]
    assert 30 <= len(glossary.splitlines()) <= 50
    assert len(words) == len(set(words))


def test_the_units_of_systemd_start_commands_that_exist() -> None:
    units = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
    assert len(units) == 5
    for unit in units:
        (line,) = re.findall(r"^ExecStart=/opt/lovage/bin/lovage (.+)$", unit.read_text(), re.M)
        command, *rest = line.split()
        done = CliRunner().invoke(lovage, [command, "--help"])
        assert done.exit_code == 0, unit.name
        for option in (word for word in rest if word.startswith("--")):
            assert option in re.sub(r"\x1b\[[0-9;]*m", "", done.output), unit.name
    wanted = re.findall(r"lovage-\w+\.service", (ROOT / "deploy" / "systemd" / "lovage.target").read_text())
    assert set(wanted) <= {unit.name for unit in units}
