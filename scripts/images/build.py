"""The images: ours from their Dockerfiles, the others from a registry, or stood in for from packages where
there is none.

What stands in is tagged with the very name that the Dockerfile or the compose file says, so nothing of what
is tried is changed for the trial.
"""

import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.images.compose_file import ROOT, Build, ComposeFile
from scripts.images.podman import Engine, EngineFailed, called

STAND_INS = Path(__file__).with_name("stand_ins")
BASE = ("python3", "python3-venv", "python3-pip", "python-is-python3", "ca-certificates")
SUITE = "bookworm"
ALL_IN_ONE = "lovage-all-in-one"
MB = 1_000_000


@dataclass
class Built:
    """Images by name, what each was made of, its seconds and bytes."""

    lines: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def add(self, engine: Engine, tag: str, how: str, seconds: float) -> None:
        size = engine.image(full_name(tag))["Size"]
        self.lines.append(f"{tag:34} {size / MB:6.0f} MB  {seconds:4.0f} s  {how}")
        print(self.lines[-1], flush=True)


def full_name(image: str) -> str:
    """The name with its registry, as Docker completes it; ours are this machine's."""
    if image.startswith("lovage-"):
        return f"localhost/{image}"
    first = image.partition("/")[0]
    if "/" not in image:
        return f"docker.io/library/{image}"
    return image if "." in first else f"docker.io/{image}"


def base_images() -> set[str]:
    """What the Dockerfiles are built from."""
    found: set[str] = set()
    for path in ROOT.glob("Dockerfile*"):
        found |= set(re.findall(r"^FROM ([\w./-]+:[\w.-]+)", path.read_text("utf-8"), re.M))
    return found


def version() -> str:
    """Lovage's own."""
    return re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)[0]


def build_all(
    engine: Engine, compose: ComposeFile, args: Mapping[str, str], *, pull: bool, gpu: bool
) -> Built:
    """All images of the compose file and the all-in-one, in an order in which each finds its base."""
    built = Built()
    for image in sorted(base_images()):
        _foreign(engine, image, built, pull=pull)
    images = compose.images()
    for image, build in images.items():
        if build is None:
            _foreign(engine, image, built, pull=pull)
    for image, build in images.items():
        if build is not None and (gpu or "cuda" not in image):
            _ours(engine, image, build, args, built)
        elif build is not None:
            built.absent.append(image)
    _ours(engine, f"{ALL_IN_ONE}:{version()}", Build("Dockerfile.all-in-one"), {}, built)
    return built


def _ours(engine: Engine, image: str, build: Build, args: Mapping[str, str], built: Built) -> None:
    seconds = engine.build(full_name(image), ROOT / build.dockerfile, ROOT, {**build.args, **args})
    built.add(engine, image, build.dockerfile, seconds)


def _foreign(engine: Engine, image: str, built: Built, *, pull: bool) -> None:
    """Pulled, or stood in for; one that is here already is left."""
    name, began = full_name(image), time.monotonic()
    if engine.has_image(name):
        return
    if pull:
        engine.podman("pull", name)
        return built.add(engine, image, "pulled", time.monotonic() - began)
    program = re.sub(r":.*", "", image).rpartition("/")[2]
    if program == "python":
        made = _base_of_packages(engine, name)
        return built.add(engine, image, f"stood in for: Debian's Python {made}", time.monotonic() - began)
    dockerfile = STAND_INS / f"{program}.Dockerfile"
    if not dockerfile.is_file():
        built.absent.append(image)
        return None
    engine.build(name, dockerfile, ROOT)
    return built.add(engine, image, "stood in for, from packages", time.monotonic() - began)


def _base_of_packages(engine: Engine, name: str) -> str:
    """An image with Debian's Python, in which pip may install; its version."""
    with tempfile.TemporaryDirectory() as folder:
        archive, dockerfile = Path(folder, "base.tar"), Path(folder, "Dockerfile")
        packages = ",".join(BASE)
        called(["mmdebstrap", "--variant=minbase", f"--include={packages}", SUITE, str(archive)])
        engine.podman("import", str(archive), "localhost/debian-python:1")
        dockerfile.write_text(
            "FROM localhost/debian-python:1\n"
            "RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED && rm -rf /var/lib/apt/lists/*\n"
        )
        engine.build(name, dockerfile, Path(folder))
    return engine.podman("run", "--rm", "--network", "none", name, "python", "-c", VERSION)


VERSION = "import platform; print(platform.python_version())"


def clean(engine: Engine) -> None:
    """Containers, volumes, networks and images of the store."""
    for command in (("rm", "--all", "--force", "--time", "0"), ("volume", "prune", "--force")):
        try:
            engine.podman(*command)
        except EngineFailed as error:
            print(error)
