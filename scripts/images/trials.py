"""What is tried of the images and of the platform made of them; each raises WentWrong, or says what it saw.

Knows the services' names, the settings, and where a container keeps its key.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.local.ports import choose_port
from scripts.images import walk
from scripts.images.build import ALL_IN_ONE, full_name, version
from scripts.images.compose_file import ROOT, Service, read_compose, read_env
from scripts.images.composed import Composed
from scripts.images.podman import Engine, EngineFailed
from scripts.images.walk import Outside, WentWrong

AUTHORITY = "/data/caddy/pki/authorities/local/root.crt"
PORTS = (
    "API_PORT",
    "FLOWER_PORT",
    "CADDY_HTTPS_PORT",
    "CADDY_S3_PORT",
    "CONTAINER_PROMETHEUS_PORT",
    "CONTAINER_GRAFANA_PORT",
)
# Inside a container these are fixed: the volume, and addresses and ports that are published on others.
INSIDE = {
    "LOVAGE_DATA_DIR",
    "API_HOST",
    "API_PORT",
    "HEALTH_HOST",
    "HEALTH_PORT",
    "FLOWER_ADDRESS",
    "FLOWER_PORT",
}
OTHERS_ANSWER_SECONDS = 60.0


def write_env(folder: Path, profiles: tuple[str, ...]) -> dict[str, str]:
    """What `lovage env init` makes, with ports that are free here and an address for each."""
    path = folder / ".env"
    command = [sys.executable, "-m", "app", "env", "init", str(path), "--profiles", ",".join(profiles)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    own = {name: str(choose_port()) for name in PORTS}
    own["PUBLIC_URL"] = f"https://localhost:{own['CADDY_HTTPS_PORT']}"
    own["S3_PUBLIC_URL"] = f"https://localhost:{own['CADDY_S3_PORT']}"
    own["RATE_LIMIT_CREATES"] = "off"  # three callers without a pause
    with path.open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in own.items())
    return {name: value for name, value in read_env(path).items() if value}


def ours(services: list[Service]) -> list[Service]:
    """Those that are Lovage's."""
    return [service for service in services if service.image.startswith("lovage-")]


def settings_arrive(engine: Engine, folder: Path) -> str:
    """Starts each service with every variable of .env.example set, and looks inside."""
    names = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text("utf-8"), re.M)
    env = {name: f"sentinel-{name}" for name in names}
    env |= {"CONTAINER_WORKER_MEMORY": "1g", "CONTAINER_WORKER_CPUS": "1", "CONTAINER_POSTGRES_MEMORY": "1g"}
    env |= {"CONTAINER_POSTGRES_CPUS": "1", "CONTAINER_MODELS": str(folder)}
    platform = Composed(engine, read_compose(env), folder, ("cpu", "gpu"))
    seen = []
    for service in ours(platform.services):
        if not engine.has_image(full_name(service.image)):
            continue
        program = "import json, os; print(json.dumps(dict(os.environ)))"
        options = [*platform.options(service, networks=False), "--restart", "no"]
        said = engine.podman("run", "--rm", *options, full_name(service.image), "python", "-c", program)
        inside = json.loads(said)
        if missing := [name for name in set(names) - INSIDE if inside.get(name) != env[name]]:
            raise WentWrong(f"{service.name}: {', '.join(sorted(missing))} did not arrive")
        seen.append(service.name)
    return f"{len(set(names))} names in each of {', '.join(seen)}"


def materials_listed(engine: Engine) -> str:
    """Each of our images names what is inside (its SBOM), as that is."""
    seen = []
    program = (
        "import importlib.metadata as m, json; bom = json.load(open('/opt/lovage/sbom.cdx.json'));"
        " print(json.dumps([bom['bomFormat'], {c['name']: c['version'] for c in bom['components']},"
        " {d.name: d.version for d in m.distributions()}]))"
    )
    for image in (f"lovage-api:{version()}", f"lovage-worker:{version()}", f"{ALL_IN_ONE}:{version()}"):
        said = engine.podman("run", "--rm", "--network", "none", full_name(image), "python", "-c", program)
        kind, named, installed = json.loads(said)
        others = {name: number for name, number in installed.items() if name != "lovage"}
        if kind != "CycloneDX" or {name: named.get(name) for name in others} != others:
            raise WentWrong(f"the SBOM of {image} does not name what is in it")
        seen.append(f"{image} {len(named)}")
    return ", ".join(seen)


def outside(platform: Composed, env: dict[str, str]) -> Outside:
    """A caller with the first administrator's key."""
    key = platform.engine.inside("api-1", "cat", "/data/key")
    authority = platform.engine.inside("proxy-1", "cat", AUTHORITY)
    return Outside(env["PUBLIC_URL"], key, authority)


def confined(platform: Composed) -> str:
    """Ours are not root, and nothing but their volumes can be written."""
    names = [name for name, service in platform.containers() if service.image.startswith("lovage-")]
    for name in names:
        if platform.engine.inside(name, "python", "-c", "import os; print(os.getuid())") != "10001":
            raise WentWrong(f"{name} does not run as 10001")
        for place in ("/written", "/srv/lovage/written", "/models/written"):
            try:
                platform.engine.inside(name, "touch", place)
            except EngineFailed:
                continue
            raise WentWrong(f"{name} can write {place}")
    return ", ".join(names)


def first_walk(platform: Composed, caller: Outside, env: dict[str, str]) -> str:
    """The README's predictions; a picture is in the bucket, and its link can be followed from outside."""
    link = walk.first_predictions(caller)
    if not link.startswith(env["S3_PUBLIC_URL"] + "/lovage/"):
        raise WentWrong(f"the picture's link is {link}")
    size = walk.fetch_picture(caller, link)
    held = platform.engine.inside("s3-1", "rclone", "size", "--json", "own:lovage")
    return f"a picture of {size} bytes; in the bucket {held}"


def both_answer(platform: Composed, caller: Outside, env: dict[str, str]) -> str:
    """Calls through the proxy until each API container has had some."""
    with caller.client() as client:
        for _ in range(40):
            client.get("/v1/models").raise_for_status()
    counts = {name: _calls(platform, name, env) for name in ("api-1", "api-2")}
    if min(counts.values()) < 5:
        raise WentWrong(f"the proxy does not share the calls out: {counts}")
    return str(counts)


def _calls(platform: Composed, name: str, env: dict[str, str]) -> int:
    program = (
        "import sys, urllib.request as r; q = r.Request('http://127.0.0.1:8000/metrics',"
        " headers={'Authorization': 'Bearer ' + sys.argv[1]}); print(r.urlopen(q).read().decode())"
    )
    said = platform.engine.inside(name, "python", "-c", program, env["METRICS_TOKEN"])
    lines = [line for line in said.splitlines() if line.startswith("lovage_http_request_seconds_count{")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if "/v1/models" in line))


def scraped(env: dict[str, str]) -> str:
    """Every target of the compose file's Prometheus answers."""
    until = time.monotonic() + OTHERS_ANSWER_SECONDS
    url = f"http://127.0.0.1:{env['CONTAINER_PROMETHEUS_PORT']}/api/v1/targets"
    while time.monotonic() < until:
        targets = _eventually(lambda: httpx.get(url, trust_env=False).json())["data"]["activeTargets"]
        health = sorted((target["labels"]["job"], target["health"]) for target in targets)
        if len(health) == 4 and all(state == "up" for _, state in health):
            return f"{len(health)} targets up"
        time.sleep(1)
    raise WentWrong(f"Prometheus says {[(t['scrapeUrl'], t['health'], t['lastError']) for t in targets]}")


def killed(platform: Composed, caller: Outside) -> str:
    """SIGKILL to each container in turn while predictions are made."""
    calls = walk.Calls(caller)
    with calls.going_on():
        for name, service in platform.containers():
            before = len(calls.accepted)
            time.sleep(1)
            began = time.monotonic()
            platform.engine.kill(name)
            by_itself = platform.revive(name)
            platform.wait_healthy(name, service)
            seconds = time.monotonic() - began
            _accepted_again(calls)
            took = time.monotonic() - began
            told = f"healthy after {seconds:4.1f} s, calls accepted after {took:4.1f} s"
            told += "" if by_itself else ", started by hand"
            print(f"  {name:14} {told}, {len(calls.accepted) - before} accepted meanwhile", flush=True)
    if lost := calls.lost():
        raise WentWrong(f"{len(lost)} of {len(calls.accepted)} lost: {lost[:5]}")
    return f"0 of {len(calls.accepted)} accepted predictions lost; {calls.refused} calls refused"


def _accepted_again(calls: walk.Calls) -> None:
    before, until = len(calls.accepted), time.monotonic() + OTHERS_ANSWER_SECONDS
    while len(calls.accepted) < before + 3:
        if time.monotonic() > until:
            raise WentWrong(f"no call was accepted for {OTHERS_ANSWER_SECONDS:g} s")
        time.sleep(0.1)


@contextmanager
def one_container(engine: Engine, name: str, *arguments: str) -> Iterator[None]:
    """A container of its own, removed at the end."""
    engine.podman("run", "--detach", "--name", name, *arguments)
    try:
        yield
    finally:
        engine.podman("rm", "--force", "--volumes", "--time", "5", name)


def all_in_one(engine: Engine) -> str:
    """The image alone, as its page says: read-only, a volume for /data; predictions, and one after
    a kill."""
    port, name, began = choose_port(), "all-in-one", time.monotonic()
    ways = ["--no-healthcheck", "--read-only", "--tmpfs", "/tmp:mode=1777"]
    image = full_name(f"{ALL_IN_ONE}:{version()}")
    with one_container(engine, name, *ways, "--publish", f"127.0.0.1:{port}:8000", image):
        key = _eventually(lambda: engine.inside(name, "cat", "/data/key"))
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=30,
        )
        with client:
            _eventually(lambda: client.get("/ready").raise_for_status())
            walk.run(client, "demo/echo", {"text": "hello"})
            walk.run(client, "demo/minilm", {"text": "hello"})
            ready = time.monotonic() - began
            engine.kill(name)
            engine.podman("start", name)
            _eventually(lambda: client.get("/ready").raise_for_status())
            walk.run(client, "demo/echo", {"text": "after a kill"})
    return f"first predictions after {ready:.0f} s"


def _eventually(ask: Callable[[], Any], seconds: float = 180.0) -> Any:
    """What it answers once it does. Raises WentWrong."""
    until = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except (EngineFailed, httpx.HTTPError) as error:
            if time.monotonic() > until:
                raise WentWrong(f"after {seconds:g} s: {error}") from error
            time.sleep(0.5)
