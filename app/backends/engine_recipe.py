"""How servers of models are started: recipes that are shipped, and those of a machine's own. Which commands
there are is decided here and on that machine: the registry names one and fills its gaps."""

import os
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.backends.cli_program import PLACEHOLDER, fill
from app.domain.backend_retry import Fault, UpstreamFailed

FOLDER = "engines"  # NAME.toml: whoever can write there decides what may be started
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
OWN_GAPS = ("port", "key", "model", "memory_share", "torch_device")  # filled by us
SPOKEN = ("openai", "tgi", "tei", "ollama", "oip", "lovage")
# What a server of models sees of the gateway worker's environment: no password of ours.
PASSED: tuple[str, ...] = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
PASSED += ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
PASSED_PREFIXES: tuple[str, ...] = ("HF_", "CUDA_", "NVIDIA_", "NCCL_", "HIP_", "ROCR_", "OMP_")
PASSED_PREFIXES += ("VLLM_", "SGLANG_", "OLLAMA_", "LLAMA_")
FIELDS = {
    "command": list,
    "speaks": str,
    "requirements": list,
    "environment": dict,
    "values": dict,
    "task": str,
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """`command` and `environment` have gaps in braces; an argument whose gap has no value is left out.
    `speaks`: the kind of backend that the server is. `requirements`: packages of an environment of its own,
    where its programs are looked for first. `values`: for gaps that nobody fills."""

    command: tuple[str, ...]
    speaks: str = "openai"
    requirements: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""

    def gaps(self) -> set[str]:
        """Those that the registry's `values` may fill."""
        texts = (*self.command, *self.environment.values())
        return {name for text in texts for name in PLACEHOLDER.findall(text)} - set(OWN_GAPS)

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises UpstreamFailed for values that are for nothing."""
        if unknown := sorted(set(values) - self.gaps()):
            known = ", ".join(sorted(self.gaps())) or "none"
            raise UpstreamFailed(
                f"has no gap for the value {unknown[0][:64]}; known are: {known}", Fault.SETUP
            )

    def filled(self, values: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
        """The command and the environment. Raises UpstreamFailed."""
        values = {**self.values, **values}
        filled = {name: fill([text], values) for name, text in self.environment.items()}
        return fill(self.command, values), {name: texts[0] for name, texts in filled.items() if texts}


SHIPPED = {
    "vllm": Recipe(
        (
            "vllm",
            "serve",
            "{model}",
            "--host=127.0.0.1",
            "--port={port}",
            "--gpu-memory-utilization={memory_share}",
            "--max-model-len={context_length}",
            "--max-num-seqs={sequences}",
            "--dtype={dtype}",
            "--revision={revision}",
            "--tensor-parallel-size={devices}",
        ),
        requirements=("vllm==0.33.0",),
        environment={"VLLM_API_KEY": "{key}", "VLLM_NO_USAGE_STATS": "1"},
    ),
    "sglang": Recipe(
        (
            "python",
            "-m",
            "sglang.launch_server",
            "--model-path={model}",
            "--host=127.0.0.1",
            "--port={port}",
            "--mem-fraction-static={memory_share}",
            "--context-length={context_length}",
            "--max-running-requests={sequences}",
            "--dtype={dtype}",
            "--revision={revision}",
            "--tp-size={devices}",
        ),
        requirements=("sglang==0.5.23",),
    ),
    "llama.cpp": Recipe(
        (
            "llama-server",
            "--alias={model}",
            "--model={file}",
            "--hf-repo={repository}",
            "--host=127.0.0.1",
            "--port={port}",
            "--ctx-size={context_length}",
            "--parallel={sequences}",
            "--threads={threads}",
            "--n-gpu-layers={layers}",
        ),
        environment={"LLAMA_API_KEY": "{key}"},
    ),
    "tei": Recipe(
        (
            "text-embeddings-router",
            "--model-id={model}",
            "--hostname=127.0.0.1",
            "--port={port}",
            "--max-client-batch-size={batch}",
            "--dtype={dtype}",
            "--revision={revision}",
            "--pooling={pooling}",
        ),
        speaks="tei",
        environment={"API_KEY": "{key}"},
        values={"batch": 2_048},
    ),
    "ollama": Recipe(
        ("ollama", "serve"),
        speaks="ollama",
        environment={"OLLAMA_HOST": "127.0.0.1:{port}", "OLLAMA_NUM_PARALLEL": "{sequences}"},
        values={"sequences": 4},
    ),
    "transformers": Recipe(
        (
            "transformers",
            "serve",
            "{model}",
            "--host=127.0.0.1",
            "--port={port}",
            "--device={torch_device}",
            "--dtype={dtype}",
        ),
        requirements=("transformers[serving]==5.23.0", "torch"),
    ),
}


def find(name: str, folder: Path) -> Recipe:
    """The recipe of this machine with that name, or the one that is shipped. Raises UpstreamFailed."""
    path = folder / FOLDER / f"{name}.toml"
    try:
        return parse(tomllib.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        if name in SHIPPED:
            return SHIPPED[name]
        known = ", ".join(sorted({*SHIPPED, *(file.stem for file in path.parent.glob("*.toml"))}))
        raise UpstreamFailed(f"names no recipe of this machine; known are: {known}", Fault.SETUP) from None
    except (OSError, ValueError) as error:
        raise UpstreamFailed(f"has a recipe that cannot be read: {path.name}: {error}", Fault.SETUP) from None


def parse(stored: Mapping[str, Any]) -> Recipe:
    """A recipe as a file says it. Raises ValueError naming what is wrong."""
    for name, value in stored.items():
        if name not in FIELDS:
            raise ValueError(f"'{name}' is not known; known are: {', '.join(FIELDS)}")
        if not isinstance(value, FIELDS[name]):
            raise ValueError(f"'{name}' must be a {FIELDS[name].__name__}")
    command = _texts(stored, "command")
    if not command:
        raise ValueError("'command' must be a list of texts, the program first")
    if stored.get("speaks", "openai") not in SPOKEN:
        raise ValueError(f"'speaks' must be one of {', '.join(SPOKEN)}")
    environment = {str(name): str(value) for name, value in stored.get("environment", {}).items()}
    lists = {"command": command, "requirements": _texts(stored, "requirements")}
    return Recipe(**{**stored, **lists, "environment": environment})


def _texts(stored: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = stored.get(name, [])
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"'{name}' must be a list of texts")
    return tuple(texts)


def program_of(command: Sequence[str], programs: Path | None) -> str:
    """Where the command's program is: in its environment, or on the gateway worker's PATH. Raises
    UpstreamFailed."""
    path = os.pathsep.join(filter(None, [str(programs or ""), os.environ.get("PATH", "")]))
    if program := shutil.which(command[0], path=path):
        return program
    raise UpstreamFailed(f"needs the program {command[0]}, which is not on this machine", Fault.SETUP)


def environment_of(programs: Path | None, own: Mapping[str, str]) -> dict[str, str]:
    """The variables that a server is started with."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED or name.startswith(PASSED_PREFIXES)
    }
    if programs is not None:
        kept["PATH"] = os.pathsep.join([str(programs), kept.get("PATH", "")])
        kept["VIRTUAL_ENV"] = str(programs.parent)
    return {**kept, "PYTHONUNBUFFERED": "1", **own}


def visible_device(device: str, environment: Mapping[str, str]) -> dict[str, str]:
    """What shows a server this device of the gateway worker's, and no other."""
    kind, _, index = device.partition(":")
    variable = {"cuda": "CUDA_VISIBLE_DEVICES", "rocm": "HIP_VISIBLE_DEVICES"}.get(kind)
    if variable is None or not index:
        return {}
    shown = [part.strip() for part in environment.get(variable, "").split(",") if part.strip()]
    return {variable: shown[int(index)] if int(index) < len(shown) else index}
