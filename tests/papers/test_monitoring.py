"""What is in deploy/ for Prometheus and Grafana speaks of metrics that exist."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
ENDINGS = "_(count|sum|bucket)$"


def expressions() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            yield from (target["expr"] for target in panel["targets"])


def documented() -> set[str]:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8").partition("## Deprecated names")[0]
    return set(re.findall(r"^\| `(lovage_\w+)` \|", page, re.M))


def test_every_metric_of_an_alert_or_a_chart_exists() -> None:
    named = {re.sub(ENDINGS, "", name) for text in expressions() for name in re.findall(r"lovage_\w+", text)}
    assert len(named) > 30
    assert named <= documented(), named - documented()


def test_the_dashboards_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, "scripts/dashboards.py", "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "run: python scripts/dashboards.py"


def test_each_alert_says_what_it_means_and_what_to_do() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith("."), rule
        assert rule["annotations"]["action"].endswith("."), rule


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is not installed")
def test_promtool_accepts_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
