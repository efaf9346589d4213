"""One look at a repository of the hub: what it holds at a commit, and its small configuration files, in a
process of its own that is ended at the deadline.

The hub's library waits for each read as long as it likes, and for as many as come; an API process gives a
look-up one deadline over resolving, connecting, heads and bodies. Files over the limit are not read,
whatever the hub says of their sizes. Knows no version and no runtime."""

import base64
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import app
from app.outbound import hub
from app.outbound.hub import HubFailed, HubRepository

LOOKUP_SECONDS = 30.0
PROCESS_FILES = 16_000_000  # bytes of any file that the process writes
FAILURES: Mapping[str, type[HubFailed]] = {
    kind.__name__: kind for kind in (HubFailed, hub.HubGated, hub.HubNoRevision, hub.HubNoRepository)
}


@dataclass(frozen=True, slots=True)
class HubLookup:
    """What to look at: the `files` among those that the repository holds, of at most `largest` bytes each.
    Without a token only what is open to everybody; `only_open`: nothing else in any case."""

    name: str
    revision: str
    files: Sequence[str]
    largest: int
    endpoint: str = ""
    token: str = ""
    only_open: bool = False


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """A repository at one commit, and the contents of its small files."""

    repository: HubRepository
    contents: Mapping[str, bytes]


def look_up(lookup: HubLookup, seconds: float = LOOKUP_SECONDS) -> HubSnapshot:
    """Blocks for at most `seconds`. Raises HubFailed, HubGated, HubNoRevision, HubNoRepository."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(app.__file__).parent.parent,
        env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"},
        start_new_session=True,
    )
    with process:
        try:
            answer, _ = process.communicate(json.dumps(asdict(lookup)).encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            raise HubFailed(f"it took longer than {seconds:g} s in all") from None
        finally:
            process.kill()
    return _snapshot(json.loads(answer)) if answer else _died()


def _died() -> HubSnapshot:
    raise HubFailed("the process that asks it has died")


def _snapshot(answer: Mapping[str, Any]) -> HubSnapshot:
    if failure := answer.get("failure"):
        raise FAILURES[failure](answer["reason"])
    facts = answer["repository"]
    repository = HubRepository(**{**facts, "files": [(name, size) for name, size in facts["files"]]})
    contents = {name: base64.b64decode(text) for name, text in answer["contents"].items()}
    return HubSnapshot(repository, contents)


# In the process


def main() -> None:
    """Does one look-up."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    resource.setrlimit(resource.RLIMIT_FSIZE, (PROCESS_FILES, PROCESS_FILES))
    try:
        answer = _look(HubLookup(**json.load(sys.stdin)))
    except HubFailed as error:
        answer = {"failure": type(error).__name__, "reason": str(error)}
    json.dump(answer, answers)
    answers.close()


def _look(lookup: HubLookup) -> dict[str, Any]:
    client = hub.HubClient(lookup.endpoint, lookup.token, saved_login=False)
    repository = client.repository(lookup.name, lookup.revision)
    if lookup.only_open and not repository.is_open:  # its list of files is, so a worker would fetch them
        raise hub.HubGated(lookup.name)
    sizes = dict(repository.files)
    small = [name for name in lookup.files if name in sizes and sizes[name] <= lookup.largest]
    contents = client.read_files(lookup.name, repository.commit, small)
    kept = {name: content for name, content in contents.items() if len(content) <= lookup.largest}
    return {
        "repository": asdict(repository),
        "contents": {name: base64.b64encode(content).decode() for name, content in kept.items()},
    }


if __name__ == "__main__":
    main()
