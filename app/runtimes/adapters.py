"""Merges an adapter (LoRA and its kin) into the model that it was trained of: what peft's and diffusers' own
merging gives, or a sentence why it does not fit.
"""

import contextlib
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

WEIGHTS = "adapter_model.safetensors"
OF_PEFT = "base_model.model."  # before the base's own names
NAMED = 4  # of weights, in a sentence
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def merge(net: Any, folder: Path, device: str = "cpu") -> Any:
    """The network with the adapter of a folder in its weights, of the class that it was. Raises ValueError
    when it does not fit."""
    try:
        from peft import PeftModel
    except ImportError:
        raise ValueError("merging an adapter needs peft: pip install 'lovage[worker]'") from None
    untie(net, weight_names(folder))
    with _fitting(), warnings.catch_warnings(action="ignore"):
        adapted = PeftModel.from_pretrained(net, str(folder), torch_device=device)
        # Once more for what it returns: of weights that are not there the first only warns.
        report = adapted.load_adapter(str(folder), "default", torch_device=device)
    strange = [*report.missing_keys, *report.unexpected_keys]
    if strange:
        raise ValueError(f"the adapter does not fit this base: it and the model disagree on {named(strange)}")
    with _fitting():
        return adapted.merge_and_unload()


def untie(net: Any, names: Collection[str]) -> None:
    """Gives a network whose first and last layer are one matrix two of them, where the adapter (its weights'
    names) changes one: it was trained beside the other."""
    first, last = net.get_input_embeddings(), net.get_output_embeddings()
    if last is None or first.weight is not last.weight:
        return
    both = [f"{name}." for name, module in net.named_modules() if module in (first, last)]
    if any(name.startswith(each) for name in names for each in both):
        last.weight = type(last.weight)(last.weight.detach().clone(), requires_grad=False)
        net.config.tie_word_embeddings = False


@contextlib.contextmanager
def _fitting() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the adapter does not fit this base: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Of what a library says, at most 200 letters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def named(names: Collection[str]) -> str:
    """The first few of them, for a sentence."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(sorted(names)[:NAMED]) + more


def weight_names(folder: Path) -> list[str]:
    """Of an adapter's weights, by the base's names; empty where they are in another format."""
    from safetensors import safe_open

    if not (folder / WEIGHTS).is_file():
        return []
    with safe_open(folder / WEIGHTS, "pt") as file:
        return [name.removeprefix(OF_PEFT) for name in file.keys()]  # noqa: SIM118 - it is no dictionary


def whole_parts(folder: Path) -> tuple[str, ...]:
    """Names of what the adapter brings in place of the base's (heads)."""
    return tuple({name for name in weight_names(folder) if "lora_" not in name})


def tokenizer_folder(folder: Path, adapter: str) -> Path:
    """The adapter's own folder where it brings a tokenizer, else the base's."""
    own = Path(adapter)
    return own if adapter and any((own / name).is_file() for name in TOKENIZER) else folder


def fuse_into_pipeline(pipe: Any, folder: Path) -> None:
    """Puts a LoRA into the weights of a diffusers pipeline. Raises ValueError when it does not fit."""
    files = [file.name for file in folder.glob("*.safetensors")]
    if len(files) != 1 or not hasattr(pipe, "load_lora_weights"):
        raise ValueError("the adapter does not fit this base: it is to be one file of LoRA weights")
    with _fitting():
        pipe.load_lora_weights(str(folder), weight_name=files[0], local_files_only=True)
        if not pipe.get_active_adapters():
            raise ValueError("none of its weights are those of a part of the pipeline")
        pipe.fuse_lora()
        pipe.unload_lora_weights()
