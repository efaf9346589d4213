"""Makes a folder that can be registered of one that cannot: PyTorch's pickles become safetensors, an adapter
is merged into its base.

Nothing of a pickle is run: it is read by torch's `weights_only` loader, which knows tensors and plain
containers and refuses everything else. Run by a person beside the platform; no worker does.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.runtimes import adapters

WEIGHTS = re.compile(r".*\.(bin|pt|pth|ckpt)$")
INDEX = ".bin.index.json"
# What training leaves beside the weights.
OF_TRAINING = re.compile(
    r"(training_args\.bin|optimizer\.(pt|bin)|scheduler\.(pt|bin)|scaler\.pt|rng_state.*\.pth)$"
)
NESTED = ("state_dict", "model_state_dict", "model", "module")  # where training scripts put the weights
ADAPTER = "adapter_config.json"


def convert(folder: Path, output: Path, base: Path | None = None) -> Iterator[str]:
    """Writes the converted model into `output`, which must not exist; a line for each thing done. Raises
    ValueError with a sentence; then nothing is left there."""
    if output.exists():
        raise ValueError(f"{output} exists already: name a folder that does not")
    is_adapter = (folder / ADAPTER).is_file()
    if is_adapter and base is None:
        name = json.loads((folder / ADAPTER).read_text("utf-8")).get("base_model_name_or_path")
        raise ValueError(f"the folder is an adapter of {name}: name that model's folder with --base")
    if base is not None and not is_adapter:
        raise ValueError(f"the folder has no {ADAPTER}, so there is nothing to merge into --base")
    is_whole = False
    try:
        yield from _merge(folder, base, output) if base else _convert_weights(folder, output)
        is_whole = True
    finally:
        if not is_whole:
            shutil.rmtree(output, ignore_errors=True)


def _convert_weights(folder: Path, output: Path) -> Iterator[str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path, folder)]
    pickles = [path for path in files if WEIGHTS.match(path.name) and not OF_TRAINING.match(path.name)]
    if not pickles:
        raise ValueError("the folder has no PyTorch weights (.bin, .pt, .pth, .ckpt) to convert")
    for path in files:
        target = output / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path in pickles:
            target = target.with_name(new_name(path.name))
            count = _write_tensors(path, target)
            yield f"{path.relative_to(folder)}: {count} tensors, now {target.relative_to(output)}"
        elif path.name.endswith(INDEX):
            target.with_name(new_name(path.name)).write_text(_new_index(path))
        elif OF_TRAINING.match(path.name):
            yield f"{path.relative_to(folder)}: left out, it is of the training"
        else:
            shutil.copyfile(path, target)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def new_name(name: str) -> str:
    """pytorch_model-00001-of-00002.bin -> model-00001-of-00002.safetensors, as the libraries name them."""
    stem = re.sub(r"\.(bin|pt|pth|ckpt)(?=$|\.index\.json$)", ".safetensors", name)
    return stem.removeprefix("pytorch_") if stem.startswith("pytorch_model") else stem


def _new_index(path: Path) -> str:
    index = json.loads(path.read_text("utf-8"))
    names = {tensor: new_name(file) for tensor, file in index["weight_map"].items()}
    return json.dumps({**index, "weight_map": names}, indent=2)


def _write_tensors(path: Path, target: Path) -> int:
    from safetensors.torch import save_file

    tensors = read_tensors(path)
    save_file(tensors, target, metadata={"format": "pt"})
    return len(tensors)


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a pickle by their names, each with memory of its own. Raises ValueError for what holds
    anything else."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the loader says of a file that may be anything
        raise ValueError(
            f"{path.name} holds more than tensors, or is broken, and is not opened:"
            f" {adapters.first_line(error)}"
        ) from error
    while isinstance(content, Mapping) and (
        key := next((name for name in NESTED if _holds(content, name)), "")
    ):
        content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path.name} holds a {type(content).__name__}, not tensors by their names")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise ValueError(f"{path.name} holds no tensors")
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def _holds(content: Mapping[str, Any], name: str) -> bool:
    return isinstance(content.get(name), Mapping)


def _merge(folder: Path, base: Path, output: Path) -> Iterator[str]:
    from transformers import AutoTokenizer

    net = _base_class(base).from_pretrained(base, local_files_only=True, dtype="auto", use_safetensors=True)
    merged = adapters.merge(net, folder)
    merged.save_pretrained(output)
    own = adapters.tokenizer_folder(base, str(folder))
    AutoTokenizer.from_pretrained(own, local_files_only=True).save_pretrained(output)
    whose = "adapter" if own == folder else "base"
    yield f"merged into {type(merged).__name__}, with the tokenizer of the {whose}"


def _base_class(base: Path) -> Any:
    """The class that the base's configuration names."""
    import transformers

    if not (base / "config.json").is_file():
        raise ValueError("--base: the folder has no config.json")
    names = json.loads((base / "config.json").read_text("utf-8")).get("architectures") or [""]
    named = getattr(transformers, str(names[0]), None)
    if not hasattr(named, "from_pretrained"):
        raise ValueError(f"--base: {names[0] or 'its class'} is not a class of transformers")
    return named
