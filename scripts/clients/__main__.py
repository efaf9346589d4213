"""`make clients`: client libraries and frameworks, pinned, each in an environment of its own, against a
platform that is started for them.

ARGS: names to run only those. The environments stay in `.venv/clients` for the next time; the first time
needs a package registry and some minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from app.local.platform_state import Platform
from app.local.ports import choose_port
from scripts.clients import models
from scripts.clients.environments import command_of
from scripts.clients.suite_files import Suite, all_suites
from scripts.own_platform import UNLIMITED, judged

SECONDS = 300  # for one suite; a cold model is loaded by the first
# What libraries would ask of other hosts while they are tested: prices of models, and who uses them.
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "MEM0_TELEMETRY": "False", "DO_NOT_TRACK": "1"}
KEPT = ("PATH", "LANG", "SSL_CERT_FILE")


def environment_of(platform: Platform, names: dict[str, str], folder: str) -> dict[str, str]:
    """The variables that a suite reads; of this process's own those that any program needs."""
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        **QUIET,
        **names,
        "LOVAGE_URL": platform.api_url,
        "LOVAGE_KEY": Path(platform.key_file).read_text("utf-8").strip(),
        "NO_PROXY": "127.0.0.1",
        "SCRATCH": folder,
        "HOME": folder,  # where libraries write what they keep
        "MEM0_DIR": folder,  # is read when it is imported
    }


def run(suite: Suite, env: dict[str, str]) -> bool:
    """Whether it went well; what it says is shown."""
    print(f"\n{suite.name}: {', '.join(suite.requires)}", flush=True)
    try:
        command = command_of(suite)
        began = time.monotonic()
        is_good = subprocess.run(command, env=env, timeout=SECONDS, check=False).returncode == 0
    except (subprocess.SubprocessError, OSError) as error:
        print(f"{suite.name}: {error}")
        return False
    print(f"{suite.name}: {'ok' if is_good else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
    return is_good


def run_all(suites: Iterable[Suite], platform: Platform, root: Path) -> bool:
    """Whether all went well."""
    names = models.register(platform, root)
    results = {}
    for suite in suites:
        with tempfile.TemporaryDirectory(prefix="lovage-client-") as scratch:
            results[suite.name] = run(suite, environment_of(platform, names, scratch))
    print()
    for name, is_good in results.items():
        print(f"{'ok    ' if is_good else 'FAILED'} {name}")
    return all(results.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__)
    suites = {suite.name: suite for suite in all_suites()}
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(suites))
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(suites):
        parser.error(f"there is no suite {sorted(unknown)[0]}; there are {', '.join(suites)}")
    chosen = [suites[name] for name in arguments.names or suites]
    with tempfile.TemporaryDirectory(prefix="lovage-clients-") as folder:
        root = Path(folder)
        models.make_all(root)
        return judged(
            "lovage-clients-platform-",
            lambda platform: run_all(chosen, platform, root),
            MODEL_ROOTS=str(root),
            GRPC_PORT=str(choose_port()),
            **UNLIMITED,
        )


if __name__ == "__main__":
    sys.exit(main())
