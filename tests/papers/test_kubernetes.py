"""The manifests in deploy/kubernetes name only what exists: settings, commands, ports, probes, images."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from dotenv import dotenv_values
from typer.main import get_command

from app.cli import app as program
from app.settings import Settings

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("base", "cuda", "keda")
PODS = ("Deployment", "Job")
HEALTH_PATHS = {"/health", "/ready", "/livez", "/healthcheck"}  # of a worker's port, of the API, of Flower


def manifests() -> list[dict[str, Any]]:
    files = [path for path in KUBERNETES.glob("*/*.yaml") if path.name != "kustomization.yaml"]
    return [each for path in sorted(files) for each in yaml.safe_load_all(path.read_text("utf-8"))]


def containers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name of the workload, its pod, its container)."""
    for manifest in manifests():
        if manifest["kind"] in PODS:
            pod = manifest["spec"]["template"]["spec"]
            yield from ((manifest["metadata"]["name"], pod, each) for each in pod["containers"])


def test_every_variable_is_a_setting() -> None:
    known = {name.upper() for name in Settings.model_fields}
    values = dotenv_values(KUBERNETES / "base" / "lovage.env")
    readme = (KUBERNETES / "README.md").read_text("utf-8")
    secrets = set(re.findall(r"--from-literal=(\w+)", readme))
    assert len(values) > 8
    assert len(secrets) >= 5
    assert set(values) | secrets <= known, (set(values) | secrets) - known
    Settings(
        **{name.lower(): value for name, value in values.items()},  # type: ignore[arg-type]
        secret_key="one of a test: " + "0123456789abcdef" * 2,
        flower_basic_auth="a:b",
    )


def test_every_command_exists() -> None:
    commands = get_command(program).commands  # type: ignore[attr-defined]
    for name, _, container in containers():
        first, *rest = container["command"]
        if first == "python":
            assert (ROOT / rest[0]).is_file(), name
            continue
        assert first == "lovage", name
        options = {option for parameter in commands[rest[0]].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, name


def test_every_probe_meets_a_port_of_its_container_and_a_path_that_answers() -> None:
    public = orjson.loads((ROOT / "openapi.json").read_bytes())["paths"]
    probes = 0
    for name, _, container in containers():
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe := container.get(kind, {}).get("httpGet"):
                probes += 1
                assert probe["port"] in ports, (name, kind)
                assert probe["path"] in (public if name == "lovage-api" else HEALTH_PATHS), (name, kind)
        if "health" in ports:
            assert str(ports["health"]) == dotenv_values(KUBERNETES / "base" / "lovage.env")["HEALTH_PORT"]
    assert probes >= 12


def test_a_stopping_pod_has_the_time_that_its_process_takes() -> None:
    values = dotenv_values(KUBERNETES / "base" / "lovage.env")
    grace = {name: pod.get("terminationGracePeriodSeconds", 30) for name, pod, _ in containers()}
    for name in ("lovage-worker-cpu", "lovage-worker-cuda"):
        assert grace[name] > int(values["WORKER_GRACE_SECONDS"] or 0) + 10
    assert grace["lovage-api"] > int(values["API_DRAIN_SECONDS"] or 0) + 10


def test_no_pod_is_root_or_writes_outside_of_its_volumes() -> None:
    names = set()
    for name, pod, container in containers():
        names.add(name)
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert container["resources"]["limits"]["memory"], name
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}, name
    assert len(names) == 7


def test_images_are_built_by_the_dockerfiles_and_metrics_are_documented() -> None:
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    assert {container["image"] for _, _, container in containers()} == {
        "lovage-api",
        "lovage-worker",
        "lovage-worker-cuda",
    }
    for image in ("lovage-api", "lovage-worker", "lovage-worker-cuda"):
        assert f"image: {image}:" in compose
    scaled = (KUBERNETES / "keda" / "scaled-worker-cpu.yaml").read_text("utf-8")
    documented = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")
    for metric in re.findall(r"lovage_\w+", scaled):
        assert f"`{re.sub('(?<=_seconds)_(sum|count)$', '', metric)}`" in documented


def test_selectors_and_scalers_meet_a_workload() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in manifests() if each["kind"] in PODS]
    workloads = {each["metadata"]["name"] for each in manifests() if each["kind"] == "Deployment"}
    for manifest in manifests():
        spec = manifest["spec"]
        if manifest["kind"] == "PodDisruptionBudget":
            assert spec["selector"]["matchLabels"] in labels, manifest["metadata"]
        if manifest["kind"] == "Service":
            assert spec["selector"] in labels, manifest["metadata"]
        if "scaleTargetRef" in spec:
            assert spec["scaleTargetRef"]["name"] in workloads, manifest["metadata"]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kustomize_builds_it(overlay: str) -> None:
    command = ["kubectl", "kustomize", str(KUBERNETES / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    kinds = [each["kind"] for each in built]
    assert kinds.count("Deployment") == (6 if overlay == "cuda" else 5)
    assert kinds.count("HorizontalPodAutoscaler") == (1 if overlay == "keda" else 2)
    assert all(each["metadata"]["namespace"] == "lovage" for each in built)


WORKER = 'instance="worker-cpu-1"'
HELD = {
    'lovage_waiting{queue="cpu",instance="api-1"}': "100x20",
    'lovage_waiting{queue="cpu",instance="api-2"}': "100x20",  # each API says the same
    f"lovage_worker_running{{{WORKER}}}": "8x20",
    f"lovage_worker_slots{{{WORKER}}}": "8x20",
}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (Debian: prometheus) is not installed")
@pytest.mark.parametrize(
    ("run_seconds", "predicted"), [(240, 108 * 4 / 8), (0, 108 / 8)], ids=["4 s", "none"]
)
def test_keda_scales_by_seconds_of_work(tmp_path: Path, run_seconds: int, predicted: float) -> None:
    scaled = yaml.safe_load((KUBERNETES / "keda" / "scaled-worker-cpu.yaml").read_text("utf-8"))
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    ended = {"sum": f"0+{run_seconds}x20", "count": "0+60x20" if run_seconds else "0x20"}
    series = HELD | {
        f'lovage_prediction_seconds_{name}{{phase="run",{WORKER}}}': values for name, values in ended.items()
    }
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": "15m", "exp_samples": [{"labels": "{}", "value": predicted}]}
        ],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"tests": [case]}))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
