"""Debian's Prometheus over a running platform: each expression of an alert or a chart can be evaluated, and
each chart shows something."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from platform_under_test import UpPlatform, wait_all
from waiting import eventually

from app.local.ports import choose_port

DEPLOY = Path(__file__).parents[2] / "deploy"
# Nothing of the kind happened in the seconds of this test: quiet curves, not broken ones.
QUIET = {"Deaths of model processes", "Waiting", "Age of the oldest that waits"}

pytestmark = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus (Debian: apt install prometheus) is not installed"
)


@pytest.fixture
def prometheus(platform: UpPlatform, tmp_path: Path) -> Iterator[httpx.Client]:
    """Scrapes API, worker and courier each second, with the rules that are shipped."""
    api, own = f"127.0.0.1:{platform.port}", choose_port()
    authorization = {"credentials": platform.key}
    health = [f"127.0.0.1:{port}" for port in platform.health_ports]
    jobs = [
        {"job_name": "lovage-api", "authorization": authorization, "static_configs": [{"targets": [api]}]},
        {"job_name": "lovage-worker", "static_configs": [{"targets": health}]},
    ]
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "prometheus" / "alerts.yml")],
        "scrape_configs": jobs,
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    command = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{own}",
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{own}/api/v1", trust_env=False) as client:
                eventually(lambda: all(target["health"] == "up" for target in targets(client)), 30)
                yield client
        finally:
            process.terminate()
            process.wait(10)


def targets(client: httpx.Client) -> list[dict[str, Any]]:
    try:
        active: list[dict[str, Any]] = client.get("/targets").json()["data"]["activeTargets"]
    except (httpx.HTTPError, ValueError):
        active = []
    return active or [{"health": "unknown"}]


def use(platform: UpPlatform, client: httpx.Client) -> None:
    """Some of everything that is measured."""
    bodies: list[dict[str, Any]] = [
        {"version": "demo/echo", "input": {"text": "x"}, "webhook": f"{platform.url}/health"},
        {"version": "demo/minilm", "input": {"text": "x"}},
    ]
    made = [client.post("/v1/predictions", json=body).raise_for_status().json()["id"] for body in bodies * 4]
    wait_all(client, made)


def test_every_chart_shows_something_and_no_alert_of_a_healthy_platform_fires(
    platform: UpPlatform, client: httpx.Client, prometheus: httpx.Client
) -> None:
    use(platform, client)
    time.sleep(2)  # a rate needs two samples
    use(platform, client)
    time.sleep(2)
    empty = []
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            for target in panel["targets"]:
                answer = prometheus.get("/query", params={"query": target["expr"]}).json()
                assert answer["status"] == "success", (target["expr"], answer)
                if not answer["data"]["result"] and panel["title"] not in QUIET:
                    empty.append((panel["title"], target["expr"]))
    assert not empty
    groups = prometheus.get("/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) >= 10
    assert not [rule["lastError"] for rule in rules if rule.get("lastError")]
    assert not [rule["name"] for rule in rules if rule["state"] == "firing"]
