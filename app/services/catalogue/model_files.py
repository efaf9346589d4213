"""What lies in a model's folder: names, sizes, small configuration files, and whether its weights are whole.

Of weights only the beginning is read (a safetensors header), never a tensor. Knows no runtime.
"""

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.domain.errors import InvalidRequest, wrong_field
from app.folder_content import TooManyFilesError, walk_folder

# Configuration files that may name code of the model's author.
CODE_FILES = (
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
# Of a diffusers pipeline's parts.
PART_CONFIGS = tuple(
    f"{part}/config.json"
    for part in ("transformer", "unet", "text_encoder", "text_encoder_2", "text_encoder_3")
)
CONFIG_FILES = (
    "model_index.json",
    "modules.json",
    *CODE_FILES,
    "adapter_config.json",
    "model.safetensors.index.json",
    "meta.json",
    *PART_CONFIGS,
)
# Files that are of no use when they are empty, whatever else they are.
NEVER_EMPTY = (
    *(".safetensors", ".onnx", ".gguf", ".model", ".spm", "vocab.txt", "vocab.json", "tokenizer.json"),
    *("config.json", "modules.json", "model_index.json"),
)
NOT_JSON = "is not JSON, or is cut off: fetch it again"
NAMED = 3  # files or modules in a sentence
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".h5", ".msgpack")
INDEX = ".safetensors.index.json"
SECOND_COPY = re.compile(r"\.(fp16|bf16|fp32|non_ema|ema)[.-][^/]*safetensors$|(^|/)consolidated[^/]*$")
LARGEST_CONFIG = 4_000_000  # bytes
LARGEST_HEADER = 100_000_000  # bytes; the format's own bound
POINTER = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What is known of a model's files. `tag`: the hub's pipeline tag, its author's word. `sizes` in bytes;
    `faults`: what is wrong with a file, as the end of a sentence; `outside`: links that lead out of the model
    roots, which are not followed; `tensors`: names of what the safetensors files hold; `parameters`: how many
    numbers of each dtype (F32, BF16 …) there are in the weights that would be loaded."""

    names: Sequence[str]
    configs: Mapping[str, Any] = field(default_factory=dict)
    tag: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    outside: Sequence[str] = ()
    tensors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_safetensors(self) -> bool:
        """Whether any weights are in the one format that holds no code."""
        return any(name.endswith(".safetensors") for name in self.names)

    @property
    def has_onnx(self) -> bool:
        """Whether there is an ONNX file."""
        return any(name.endswith(".onnx") for name in self.names)

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
        name: read_config(folder / name) for name in names if name in CONFIG_FILES or name.endswith(INDEX)
    }
    faults = _dangling(folder, roots)
    faults |= {name: fault for name in names if (fault := _fault_of(folder / name))}
    broken = [name for name, config in configs.items() if config is None and name not in faults]
    faults |= dict.fromkeys(broken, NOT_JSON)
    sizes = {name: (folder / name).stat().st_size for name in names}
    whole = [name for name in names if name.endswith(".safetensors") and name not in faults]
    tensors = {name: read_tensors(folder / name) for name in whole}
    parameters: Counter[str] = Counter()
    for name in loaded_weights(whole):
        for dtype, count in tensors[name].values():
            parameters[dtype] += count
    listed = {name: list(entries) for name, entries in tensors.items()}
    return ModelFiles(names, configs, "", sizes, faults, sorted(outside), listed, parameters)


def loaded_weights(names: Sequence[str]) -> list[str]:
    """Of safetensors files, those that a runtime would load: a folder may hold the same weights again, in
    another precision (`….fp16.safetensors`) or in one piece (`consolidated.safetensors`)."""
    plain = [name for name in names if not SECOND_COPY.search(name)]
    folders = {name.rpartition("/")[0] for name in plain}
    return [name for name in names if name in plain or name.rpartition("/")[0] not in folders]


def _walk(folder: Path, roots: Sequence[Path], outside: list[str]) -> Iterator[str]:
    """Names of the files, relative to the folder; links that lead out of the roots go into `outside`."""
    try:
        for path in walk_folder(folder):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() and not any(path.resolve().is_relative_to(root) for root in roots):
                outside.append(name)
            else:
                yield name
    except TooManyFilesError as error:
        raise wrong_source(str(error)) from None


def _dangling(folder: Path, roots: Sequence[Path]) -> dict[str, str]:
    """What is wrong with links whose file is not there, as a download that was broken off leaves them. What
    would lie out of the roots is not looked for."""
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    return {
        path.relative_to(folder).as_posix(): "is a link to a file that is not there: fetch it again"
        for path in links
        if any(path.resolve().is_relative_to(root) for root in roots) and not path.exists()
    }


def listed_names(names: Sequence[str]) -> str:
    """For a sentence, the first of them."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def read_config(file: Path) -> Any:
    """JSON, or None for what is none, or too large to be a configuration: of that no more is read."""
    with file.open("rb") as opened:
        return parse_config(opened.read(LARGEST_CONFIG + 1))


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
    if size == 0 and file.name.endswith(NEVER_EMPTY):
        return "is empty"
    if not file.name.endswith(".safetensors"):
        return ""
    header = _read_header(file)
    if header is None:
        return "is not in the format of safetensors, or is cut off"
    ends = [entry["data_offsets"][1] for entry in header[0].values() if _is_tensor(entry)]
    whole = header[1] + max(ends, default=0)
    return f"is cut off: it has {size} of {whole} bytes" if size < whole else ""


def read_tensors(file: Path) -> dict[str, tuple[str, int]]:
    """(dtype, how many numbers) by the names of a safetensors file that is whole."""
    header = _read_header(file)
    entries = header[0].items() if header else ()
    return {
        name: (str(entry.get("dtype")), math.prod(entry.get("shape") or ()))
        for name, entry in entries
        if _is_tensor(entry)
    }


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
