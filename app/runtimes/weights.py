"""What every torch runtime does before loading: refuse pickles, choose the dtype, quieten the libraries."""

import os
from pathlib import Path
from typing import Any

from app.domain.work import ModelSpec
from app.runtimes import schema

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
DTYPES = ("float32", "bfloat16", "float16", "auto")

DTYPE_CONFIG = {
    "dtype": {"type": "string", "enum": list(DTYPES), "default": "float32", "description": "Precision of the weights."}
}
BATCH_CONFIG = {
    "max_batch_size": schema.integer("Most works in one batch.", minimum=1, maximum=4096),
    "max_batch_tokens": schema.integer("Most tokens in one batch, padding included.", minimum=1, maximum=2**24),
    "max_wait_ms": schema.number("Wait this long for a fuller batch.", minimum=0, maximum=60_000),
    "timeout": schema.number("Longest run of one prediction, in seconds.", minimum=0.1, maximum=86_400),
    "keep_alive": schema.number("Unload after this many idle seconds.", minimum=0, maximum=2**31),
    "device": schema.text("Device class (cpu, cuda …) or pinned queue that the version needs.", max_length=128),
}
CONFIG = {**BATCH_CONFIG, **DTYPE_CONFIG}


def folder_of(model: ModelSpec) -> Path:
    """The model's folder. Raises ValueError when it holds pickled weights and no safetensors."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the worker has fetched everything; a model process never goes to the network
    folder = Path(model.path)
    if not folder.is_dir():
        raise ValueError("the model's folder does not exist")
    has_pickles = any(path.suffix in PICKLES for path in folder.rglob("*"))
    if has_pickles and not any(folder.rglob("*.safetensors")):
        raise ValueError("the model has pickled weights only; Lovage loads safetensors only")
    return folder


def dtype_of(model: ModelSpec) -> Any:
    """The torch dtype of `config["dtype"]`; `auto` is bfloat16 on an accelerator and float32 on a CPU."""
    import torch

    name = model.config.get("dtype", "float32")
    if name == "auto":
        name = "float32" if model.device == "cpu" else "bfloat16"
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}")
    return getattr(torch, name)


def loading(model: ModelSpec) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained` that all transformers models share."""
    quieten()
    return {
        "dtype": dtype_of(model),
        "use_safetensors": True,
        "local_files_only": True,
        "trust_remote_code": model.trust_remote_code,
    }


def finished(net: Any, model: ModelSpec) -> Any:
    """The network on its device, for inference; compiled when the version says so."""
    import torch

    net = net.to(model.device).eval().requires_grad_(False)
    return torch.compile(net) if model.config.get("compile") else net


def quieten() -> None:
    """No progress bars and no advice in a service's log."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def size_of(net: Any) -> int:
    """Bytes of parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in [*net.parameters(), *net.buffers()])
