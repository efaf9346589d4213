"""What every torch runtime does before loading: refuse pickles, choose the dtype, quieten the libraries."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.domain.work import ModelSpec
from app.runtimes import schema

if TYPE_CHECKING:
    from app.runtimes.dtype_choice import Trial

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
HALVES = ("bfloat16", "float16")
DTYPES = ("float32", *HALVES, "auto")

DTYPE_CONFIG = {
    "dtype": {
        "type": "string",
        "enum": list(DTYPES),
        "default": "float32",
        "description": (
            "Precision of the weights; auto: half where the device is faster with it and the answers agree."
        ),
    }
}
COMPILE_CONFIG = {
    "torch_compile": schema.boolean("Compile with torch.compile: slow first runs, faster later ones."),
    "fused": schema.boolean(
        "On a CPU, run encoders of BERT's kind without padding; false: as transformers does.", default=True
    ),
}
BATCH_CONFIG = {
    "max_batch_size": schema.integer("Most works in one batch.", minimum=1, maximum=4096),
    "max_batch_tokens": schema.integer(
        "Most tokens in one batch, padding included.", minimum=1, maximum=2**24
    ),
    "max_wait_ms": schema.number("Wait this long for a fuller batch.", minimum=0, maximum=60_000),
    "timeout": schema.number("Longest run of one prediction, in seconds.", minimum=0.1, maximum=86_400),
    "keep_alive": schema.number("Unload after this many idle seconds; -1: never.", minimum=-1, maximum=2**31),
    "device": schema.text(
        "Device class (cpu, cuda …) or pinned queue that the version needs.", max_length=128
    ),
}
CONFIG = {**BATCH_CONFIG, **DTYPE_CONFIG}


def folder_of(model: ModelSpec) -> Path:
    """The model's folder. Raises ValueError when it holds pickled weights and no safetensors."""
    folder = Path(model.path)
    if not model.path or not folder.is_dir():
        raise ValueError("the model's folder does not exist")
    has_pickles = any(path.suffix in PICKLES for path in folder.rglob("*"))
    if has_pickles and not any(folder.rglob("*.safetensors")):
        raise ValueError("the model has pickled weights only; Lovage loads safetensors only")
    return folder


def dtype_of(model: ModelSpec) -> Any:
    """The torch dtype of `config["dtype"]`. Without a trial, `auto` is bfloat16 on an accelerator, float32 on
    a CPU."""
    import torch

    name = model.config.get("dtype") or "float32"
    if name == "auto":
        name = "float32" if model.device == "cpu" else "bfloat16"
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}")
    return getattr(torch, name)


def trusted(model: ModelSpec) -> dict[str, Any]:
    """Keyword arguments of every `from_pretrained`: nothing from the network, no code of others unless
    allowed."""
    return {"local_files_only": True, "trust_remote_code": model.trust_remote_code}


def tokenizer_of(folder: Path, model: ModelSpec) -> Any:
    """The folder's tokenizer, the fast one where there is one."""
    from transformers import AutoTokenizer

    quieten()
    return AutoTokenizer.from_pretrained(folder, **trusted(model))


def network(auto_class: Any, model: ModelSpec, trial: "Trial | None" = None) -> tuple[Any, dict[str, Any]]:
    """(a transformers model on its device, for inference; what was found out about its dtype). From
    safetensors only."""
    import torch

    from app.runtimes import dtype_choice

    quieten()
    folder, dtype = folder_of(model), dtype_of(model)
    facts: dict[str, Any] = {}
    choosing = trial is not None and model.config.get("dtype") == "auto"
    if choosing:
        stored = dtype_choice.stored_half(folder)
        usable = stored if stored == dtype_choice.half_of(model.device) else ""
        dtype, choosing = getattr(torch, usable or "float32"), not usable
    net = auto_class.from_pretrained(folder, dtype=dtype, use_safetensors=True, **trusted(model))
    net = net.to(model.device).eval().requires_grad_(False)
    if choosing and trial:
        net, facts = dtype_choice.choose(net, model.device, trial)
    return net, {"dtype": str(net.dtype).removeprefix("torch."), **facts, **quicken(net, model)}


def quicken(net: Any, model: ModelSpec) -> dict[str, Any]:
    """Compiles the network when its version says so, for all shapes at once, because batches have every
    shape; else puts fused encoders into it on a processor. What was done."""
    from app.runtimes.encoders import fused_encoder

    if model.config.get("torch_compile"):
        net.compile(dynamic=True)
        return {}
    wanted = model.device == "cpu" and model.config.get("fused", True)
    return {"encoder": "fused"} if wanted and fused_encoder.fuse(net) else {}


def quieten() -> None:
    """No progress bars and no advice in a service's log."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def size_of(net: Any) -> int:
    """Bytes of parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in [*net.parameters(), *net.buffers()])
