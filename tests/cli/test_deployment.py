"""A deployment in one YAML file: its settings count, and what is wrong in it is told in a sentence."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from app import settings
from app.cli.deployment_schema import deployment_schema
from app.deployment_file import Deployment, read_deployment
from app.setting_sources import DEPLOYMENT_FILE, ENV_FILE, WrongSource

ROOT = Path(__file__).parents[2]
NAMES = [name.upper() for name in settings.Settings.model_fields]
FILE = """
settings:
  API_PORT: 8001
  RATE_LIMIT_CREATES: off
  METRICS: false
  MODEL_ROOTS:
models:
  - name: acme/minilm
    source: hf:sentence-transformers/all-MiniLM-L6-v2
    config: {max_batch_size: 16}
    public: true
"""


def read(folder: Path, text: str) -> Deployment:
    path = folder / "lovage.yaml"
    path.write_text(text)
    return read_deployment(path, NAMES, settings.SECRETS)


def test_its_settings_stand_behind_dotenv_and_before_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in settings.KNOWN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(ENV_FILE, "")
    read(tmp_path, FILE)
    monkeypatch.setenv(DEPLOYMENT_FILE, "lovage.yaml")
    (tmp_path / ".env").write_text("METRICS=true\nLOVAGE_ENV=development\n")
    loaded = settings.load()
    assert (loaded.api_port, loaded.rate_limit_creates, loaded.metrics) == (8001, "", True)
    assert loaded.model_roots == "", "one without a value is not set"
    shown = {setting.name: setting.origin for setting in settings.describe()}
    assert (shown["API_PORT"], shown["METRICS"], shown["API_HOST"]) == ("lovage.yaml", ".env", "default")
    children = settings.child_environment()
    assert (children["API_PORT"], children[DEPLOYMENT_FILE]) == ("8001", ""), "they need not read it again"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("settings: {API_PROT: 1}", "settings.API_PROT: is not a setting: did you mean API_PORT?"),
        ("settings: {SECRET_KEY: x}", "name a file with SECRET_KEY_FILE"),
        ("settings: {DATABASE_URL: postgresql://a:b@c/d}", "a secret does not belong"),
        ("settings: {API_PORT: [1]}", "settings.API_PORT: must be a text, a number, true or false"),
        ("settings: {API_PORT: 1, API_PORT: 2}", "line 1: API_PORT stands twice"),
        ("setings: {}", "setings: is not known here"),
        ("models: [{source: none}]", "models.0.name: is missing"),
        ("models: [{name: a/b, runtim: echo}]", "models.0.runtim: is not known here"),
        ("models: [{name: A b}]", "models.0.name: must be owner/name or name"),
        ("models: [", "line 1: "),
        ("- x", "must have the keys settings and models"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("[" * 5000, "is nested too deeply"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(WrongSource) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "lovage.yaml") in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(WrongSource, match=r"absent\.yaml cannot be read: No such file"):
        read_deployment(tmp_path / "absent.yaml", NAMES, settings.SECRETS)


def test_the_schema_of_editors_is_up_to_date_and_takes_what_we_take() -> None:
    kept = json.loads((ROOT / "docs" / "reference" / "deployment.schema.json").read_text())
    assert kept == json.loads(json.dumps(deployment_schema())), "run: python scripts/env_example.py"
    jsonschema.Draft202012Validator.check_schema(kept)
    validator = jsonschema.Draft202012Validator(kept)
    assert not list(validator.iter_errors(yaml.safe_load(FILE.replace("off", '"off"'))))
    for wrong in ("settings: {API_PROT: 1}", "settings: {API_PORT: 0}", "models: [{}]", "more: 1"):
        assert list(validator.iter_errors(yaml.safe_load(wrong))), wrong
