"""The manifests of deploy/kubernetes/base, as far as `podman kube play` takes them: pods with their settings,
secrets, volumes, limits and security, against a Postgres, a Valkey and a bucket from the compose file.

All are played at once, as `kubectl apply -k` does. Not played: Ingress, NetworkPolicy, autoscalers and
budgets, which only a cluster has. Probes are asked over the network, as a kubelet does; the migrating Job is
played as a pod.
"""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from scripts.images import walk
from scripts.images.build import full_name, version
from scripts.images.compose_file import ROOT, read_compose, read_env
from scripts.images.composed import PROJECT, Composed
from scripts.images.podman import Engine, EngineFailed
from scripts.images.walk import WentWrong

BASE = ROOT / "deploy" / "kubernetes" / "base"
SERVERS = ("postgres", "redis", "s3", "bucket")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
SECRETS = ("SECRET_KEY", "METRICS_TOKEN", "FLOWER_BASIC_AUTH", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY")
READY_SECONDS = 180.0


def play(engine: Engine, folder: Path) -> str:
    """Plays them, asks every probe, runs predictions through the API's pod, and takes them down."""
    env = {name: value for name, value in read_env(folder / ".env").items() if value}
    servers = Composed(engine, read_compose(env), folder, ("s3",), only=SERVERS)
    file = folder / "manifests.yaml"
    file.write_text(yaml.safe_dump_all([_settings(env), *map(_pod, workloads())]))
    try:
        servers.start()
        engine.podman("secret", "create", "lovage-secrets", "-", text=_secret(env))
        engine.podman("kube", "play", "--network", f"{PROJECT}_inside", str(file))
        return _tried(engine)
    finally:
        for command in (("kube", "down", str(file)), ("secret", "rm", "lovage-secrets")):
            try:
                engine.podman(*command)
            except EngineFailed as error:
                print(f"not tidied up: {error}")
        servers.stop()


def workloads() -> Iterator[dict[str, Any]]:
    """The Job and the Deployments."""
    for path in sorted(BASE.glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text("utf-8")):
            if manifest["kind"] in ("Job", "Deployment"):
                yield manifest


def probes() -> Iterator[tuple[str, str, int, str]]:
    """(workload, probe, port, path) of each."""
    for manifest in workloads():
        for container in manifest["spec"]["template"]["spec"]["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
            for name in PROBES:
                if probe := container.get(name, {}).get("httpGet"):
                    yield manifest["metadata"]["name"], name, ports[probe["port"]], probe["path"]


def _settings(env: Mapping[str, str]) -> dict[str, Any]:
    """What kustomize makes of lovage.env, with the addresses used here."""
    values = {name: value or "" for name, value in read_env(BASE / "lovage.env").items()}
    values |= {name: env[name] for name in ("S3_BUCKET", "S3_ENDPOINT_URL", "S3_PUBLIC_URL")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lovage-settings"}, "data": values}


def _secret(env: Mapping[str, str]) -> str:
    """The secret that the page has people make, as Podman reads one."""
    hidden = {name: env[name] for name in SECRETS}
    hidden["DATABASE_URL"] = f"postgresql+psycopg2://lovage:{env['POSTGRES_PASSWORD']}@postgres:5432/lovage"
    hidden["REDIS_URL"] = f"redis://:{env['REDIS_PASSWORD']}@redis:6379/0"
    return json.dumps({name: base64.b64encode(value.encode()).decode() for name, value in hidden.items()})


def _pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """A workload as a pod of this machine: its template, with our images. Podman would run probes by
    systemd's timers (they are asked by `_tried`) and publish every port on this machine."""
    template = manifest["spec"]["template"]
    for container in template["spec"]["containers"]:
        container["image"] = full_name(f"{container['image']}:{version()}")
        container["imagePullPolicy"] = "Never"
        for name in (*PROBES, "ports"):
            container.pop(name, None)
    metadata = {**template["metadata"], "name": manifest["metadata"]["name"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _address(engine: Engine, pod: str) -> str:
    infra = engine.podman("pod", "inspect", "--format", "{{.InfraContainerID}}", pod)
    networks = engine.container(infra)["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


def _tried(engine: Engine) -> str:
    asked = 0
    for workload, probe, port, path in probes():
        _answers(engine, workload, f"http://{_address(engine, workload)}:{port}{path}", probe)
        asked += 1
    # The key as the page says: the Job's own copy ended with it.
    command = ("sh", "-c", "lovage bootstrap && cat /data/key")
    key = engine.inside("lovage-worker-cpu-worker-cpu", *command).splitlines()[-1]
    url = f"http://{_address(engine, 'lovage-api')}:8000"
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=30
    ) as client:
        for model, given in (("demo/echo", {"text": "hello"}), ("demo/minilm", {"text": "hello"})):
            walk.run(client, model, given)
    return f"{len(list(workloads()))} workloads, {asked} probes answered, predictions through the API's pod"


def _answers(engine: Engine, workload: str, url: str, probe: str) -> None:
    until, said = time.monotonic() + READY_SECONDS, ""
    while time.monotonic() < until:
        try:
            answer = httpx.get(url, trust_env=False, timeout=5)
            if answer.is_success:
                return
            said = f"{answer.status_code} {answer.text[:300]}"
        except httpx.HTTPError as error:
            said = str(error)
        time.sleep(1)
    name = f"{workload}-{workload.removeprefix('lovage-')}"
    log = engine.podman("logs", "--tail", "20", name)
    raise WentWrong(f"the {probe} of {workload}, {url}: {said}\n{log}")
