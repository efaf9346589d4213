"""`make images`: builds all images, runs the compose file's platform from them, and tries it as a person
would.

Exit code 1 when an image is not built, a service does not start, a setting does not arrive, a prediction
fails, a link cannot be followed, or a container that is killed loses a prediction.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from scripts.images import trials
from scripts.images.build import build_all
from scripts.images.compose_file import read_compose
from scripts.images.composed import Composed, NotStarted
from scripts.images.kubernetes import play
from scripts.images.podman import Engine, EngineFailed
from scripts.images.walk import WentWrong
from scripts.own_platform import terminable

PROGRAMS = ("podman", "buildah", "mmdebstrap", "runc")
PACKAGES = f"{' '.join(PROGRAMS)} netavark aardvark-dns uidmap catatonit"
PROFILES = ("cpu", "s3", "monitoring")
STEPS = ("build", "settings", "walk", "kill", "all-in-one", "kubernetes")


def main() -> int:
    """0: all of it went well."""
    options = _options()
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        print(f"needs {', '.join(missing)}; on Debian: apt install {PACKAGES}")
        return 2
    if os.geteuid():
        print("needs root: it makes networks and limits memory")
        return 2
    began = time.monotonic()
    with terminable(), tempfile.TemporaryDirectory(prefix="lovage-images-") as folder:
        wrong = _tried(options, Path(folder))
    print(f"\n{'FAILED: ' + wrong if wrong else 'All of it went well'}, in {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--store", type=Path, default=Path("/var/tmp/lovage-images"), help="images are kept here"
    )
    parser.add_argument(
        "--driver", default="overlay", help="storage driver: overlay, or vfs where it is refused"
    )
    parser.add_argument(
        "--pull", action="store_true", help="others' images from their registries, not stand-ins"
    )
    parser.add_argument(
        "--gpu", action="store_true", help="build the CUDA worker's image as well (some 8 GB)"
    )
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="for all Dockerfiles"
    )
    parser.add_argument("--steps", default=",".join(STEPS), help=f"some of {', '.join(STEPS)}")
    return parser.parse_args()


def _tried(options: argparse.Namespace, folder: Path) -> str:
    """The steps, one after the other; what went wrong, or "". Whatever is running then is stopped."""
    steps = options.steps.split(",")
    engine = Engine(options.store, options.driver)
    args = dict(text.partition("=")[::2] for text in options.build_arg)
    env = trials.write_env(folder, PROFILES)
    compose = read_compose(env)
    platform = Composed(engine, compose, folder, PROFILES, {"api": 2})
    try:
        if "build" in steps:
            built = _step(
                "images", lambda: build_all(engine, compose, args, pull=options.pull, gpu=options.gpu)
            )
            print(f"not built here: {', '.join(built.absent) or 'none'}")
            _step("each image names what is inside", lambda: trials.materials_listed(engine))
        if "settings" in steps:
            _step("every setting arrives in every container", lambda: trials.settings_arrive(engine, folder))
        if {"walk", "kill"} & set(steps):
            _composed(platform, env, steps)
        if "all-in-one" in steps:
            _step("the all-in-one answers", lambda: trials.all_in_one(engine))
        if "kubernetes" in steps:
            _step("the manifests are played", lambda: play(engine, folder))
    except (EngineFailed, NotStarted, WentWrong, httpx.HTTPError) as error:
        return str(error)
    return ""


def _composed(platform: Composed, env: dict[str, str], steps: list[str]) -> None:
    try:
        _step("the compose file's services start", platform.start)
        outside = trials.outside(platform, env)
        _step("no container is root, or writes on its own disk", lambda: trials.confined(platform))
        if "walk" in steps:
            _step(
                "first predictions, a picture by its link", lambda: trials.first_walk(platform, outside, env)
            )
            _step("both API containers are called", lambda: trials.both_answer(platform, outside, env))
            _step("Prometheus sees every container", lambda: trials.scraped(env))
        if "kill" in steps:
            _step("every container is killed", lambda: trials.killed(platform, outside))
    finally:
        platform.stop()


def _step(name: str, do: Callable[[], Any]) -> Any:
    began = time.monotonic()
    print(f"\n{name} …", flush=True)
    done = do()
    print(
        f"  ok, {time.monotonic() - began:.0f} s" + (f": {done}" if isinstance(done, str) else ""), flush=True
    )
    return done


if __name__ == "__main__":
    sys.exit(main())
