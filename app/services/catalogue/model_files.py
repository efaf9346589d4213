"""What lies in a model's folder: names, sizes, small configuration files, and whether its weights are whole.

Of weights only the beginning is read (a safetensors header), never a tensor. Knows no runtime.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.domain.errors import InvalidRequest, wrong_field

# Configuration files that may name code of the model's author.
CODE_FILES = (
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
CONFIG_FILES = (
    "model_index.json",
    "modules.json",
    *CODE_FILES,
    "adapter_config.json",
    "model.safetensors.index.json",
    "meta.json",
)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".h5", ".msgpack")
INDEX = ".safetensors.index.json"
LARGEST_CONFIG = 4_000_000  # bytes
LARGEST_HEADER = 100_000_000  # bytes; the format's own bound
MOST_FILES = 2_000
# Of a large file, its first and last MiB go into the fingerprint: gigabytes must not be read here.
EDGE = 1 << 20
POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What is known of a model's files. `tag`: the hub's pipeline tag, its author's word. `sizes` in bytes;
    `faults`: what is wrong with a file, as the end of a sentence; `outside`: links that lead out of the model
    roots, which are not followed; `tensors`: names of what the safetensors files hold."""

    names: Sequence[str]
    configs: Mapping[str, Any] = field(default_factory=dict)
    tag: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    outside: Sequence[str] = ()
    tensors: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def has_safetensors(self) -> bool:
        """Whether any weights are in the one format that holds no code."""
        return any(name.endswith(".safetensors") for name in self.names)

    @property
    def pickles(self) -> list[str]:
        """Files that may run code when they are loaded."""
        return [name for name in self.names if name.endswith(PICKLES)]

    @property
    def needs_own_code(self) -> bool:
        """Whether the model asks for Python code of its author to be run."""
        return any("auto_map" in self.config(name) for name in CODE_FILES)

    def config(self, name: str) -> Mapping[str, Any]:
        """A configuration file that is an object; empty when it is absent or something else."""
        config = self.configs.get(name)
        return config if isinstance(config, dict) else {}


def wrong_source(sentence: str) -> InvalidRequest:
    """The one way to say what is wrong with a source; it never repeats more than the caller has sent."""
    return wrong_field("source", sentence)


def read_folder(folder: Path, roots: Sequence[Path]) -> ModelFiles:
    """What a folder holds. Links are followed within the roots: in the hub's own cache every file is one."""
    outside: list[str] = []
    names = sorted(_walk(folder, roots, outside))
    configs = {
        name: parse_config((folder / name).read_bytes())
        for name in names
        if name in CONFIG_FILES or name.endswith(INDEX)
    }
    faults, tensors = {}, {}
    for name in names:
        if fault := _fault_of(folder / name):
            faults[name] = fault
        elif name.endswith(".safetensors"):
            tensors[name] = tensor_names(folder / name)
    sizes = {name: (folder / name).stat().st_size for name in names}
    return ModelFiles(names, configs, "", sizes, faults, sorted(outside), tensors)


def _walk(folder: Path, roots: Sequence[Path], outside: list[str]) -> Iterator[str]:
    """Names of the files, relative to the folder; links that lead out of the roots go into `outside`."""
    for number, path in enumerate(folder.rglob("*")):
        if number > MOST_FILES:
            raise wrong_source(f"has more than {MOST_FILES} files")
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() and not any(path.resolve().is_relative_to(root) for root in roots):
            outside.append(name)
        elif path.is_file() and "__pycache__" not in path.parts:
            yield name


def fingerprint(folder: Path, names: Sequence[str]) -> str:
    """A hash of the names, sizes, beginnings and ends of a folder's files."""
    digest = hashlib.sha256()
    for name in names:
        path = folder / name
        digest.update(f"{name}\x00{path.stat().st_size}\x00".encode())
        with path.open("rb") as file:
            digest.update(file.read(EDGE))
            if path.stat().st_size > 2 * EDGE:
                file.seek(-EDGE, 2)
            digest.update(file.read(EDGE))
    return digest.hexdigest()


def parse_config(content: bytes) -> Any:
    """JSON, or None for what is none, or too large to be a configuration."""
    if len(content) > LARGEST_CONFIG:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _fault_of(file: Path) -> str:
    """Why a file is not what its name says; "" when nothing shows it."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(len(POINTER))
    if head == POINTER:
        return "is a Git LFS pointer and not the file itself: run `git lfs pull` where it was cloned"
    if not file.name.endswith(".safetensors"):
        return ""
    if size == 0:
        return "is empty"
    header = _read_header(file)
    if header is None:
        return "is not in the format of safetensors, or is cut off"
    ends = [entry["data_offsets"][1] for entry in header[0].values() if _is_tensor(entry)]
    whole = header[1] + max(ends, default=0)
    return f"is cut off: it has {size} of {whole} bytes" if size < whole else ""


def tensor_names(file: Path) -> list[str]:
    """Of a safetensors file that is whole."""
    header = _read_header(file)
    return [name for name, entry in header[0].items() if _is_tensor(entry)] if header else []


def _is_tensor(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("data_offsets"), list)


def _read_header(file: Path) -> tuple[dict[str, Any], int] | None:
    """(the header of a safetensors file, where its tensors begin); None for what has none."""
    with file.open("rb") as opened:
        length = opened.read(8)
        if len(length) < 8:
            return None
        (size,) = struct.unpack("<Q", length)
        if size > LARGEST_HEADER or size + 8 > file.stat().st_size:
            return None
        try:
            header = json.loads(opened.read(size))
        except (ValueError, RecursionError):
            return None
    return (header, size + 8) if isinstance(header, dict) else None
