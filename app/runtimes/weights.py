"""How every torch runtime loads: refuse pickles, choose the dtype, silence the libraries, make it fast."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.domain.version_settings import AUTO, DTYPES, value_of
from app.domain.work import ModelSpec
from app.runtimes import adapters

if TYPE_CHECKING:
    from app.runtimes.dtype_choice import Comparison

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

# Settings of a version that `load_network` and `accelerate` read, for the `reads` of a runtime's spec.
PRECISION = ("dtype",)
ADAPTERS = ("base_model",)
ACCELERATION = ("torch_compile", "fused")
ENGINES = ("engine", "least_agreement")  # of encoders
NAMED = 4  # of missing weights, in a sentence


def model_folder(model: ModelSpec) -> Path:
    """The model's folder. Raises ValueError when it holds pickled weights and no safetensors."""
    folder = Path(model.path)
    if not model.path or not folder.is_dir():
        raise ValueError("the model's folder does not exist")
    has_pickles = any(path.suffix in PICKLES for path in folder.rglob("*"))
    if has_pickles and not any(folder.rglob("*.safetensors")):
        raise ValueError("the model has pickled weights only; Lovage loads safetensors only")
    return folder


def torch_dtype(model: ModelSpec) -> Any:
    """The torch dtype of `config["dtype"]`; `auto`, which nothing is compared for here, is bfloat16 on an
    accelerator and float32 on a CPU."""
    import torch

    name = value_of(model.config, "dtype")
    if name == AUTO:
        name = "float32" if model.device == "cpu" else "bfloat16"
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}")
    return getattr(torch, name)


def loading_options(model: ModelSpec) -> dict[str, Any]:
    """Keyword arguments of every `from_pretrained`: nothing from the network, no code of others unless
    allowed."""
    return {"local_files_only": True, "trust_remote_code": model.trust_remote_code}


def load_tokenizer(folder: Path, model: ModelSpec) -> Any:
    """The folder's tokenizer, the fast one where there is one; an adapter's own where it brings one."""
    from transformers import AutoTokenizer

    silence_libraries()
    folder = adapters.tokenizer_folder(folder, model.adapter)
    return AutoTokenizer.from_pretrained(folder, **loading_options(model))


def load_network(
    auto_class: Any,
    model: ModelSpec,
    comparison: "Comparison | None" = None,
    *,
    folder: Path | None = None,
    spare: tuple[str, ...] = (),
) -> tuple[Any, dict[str, Any]]:
    """(a transformers model on its device, for inference; facts: its dtype and why, its encoder). From
    safetensors only. With a `comparison`, `dtype: auto` is decided by measuring. `folder`: the model's own
    unless it lies deeper; `spare`: beginnings of the names of weights that may be missing, because nothing
    asks them. Raises ValueError when others are."""
    from app.runtimes import dtype_choice

    folder = folder or model_folder(model)
    load = loader(auto_class, model, folder, spare)
    facts: dict[str, Any] = {}
    if comparison is not None and value_of(model.config, "dtype") == AUTO:
        net, facts = dtype_choice.choose(load, folder, model, comparison)
    else:
        net = load(str(torch_dtype(model)).removeprefix("torch."))
    return net, {"dtype": str(net.dtype).removeprefix("torch."), **facts, **accelerate(net, model)}


def loader(
    auto_class: Any, model: ModelSpec, folder: Path, spare: tuple[str, ...] = ()
) -> Callable[[str], Any]:
    """A function that loads the network in a dtype onto its device, with the version's adapter merged
    into it; `spare` as in `load_network`. It raises ValueError when weights are missing."""
    import torch

    silence_libraries()
    if model.adapter:
        spare = (*spare, *adapters.whole_parts(Path(model.adapter)))

    def load(dtype: str) -> Any:
        net, report = auto_class.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            **loading_options(model),
        )
        check_complete(net, report["missing_keys"], spare)
        net = net.to(model.device)
        if model.adapter:
            net = adapters.merge(net, Path(model.adapter), model.device)
        return net.eval().requires_grad_(False)

    return load


def check_complete(net: Any, missing: Collection[str], spare: tuple[str, ...] = ()) -> None:
    """Raises ValueError when weights are missing, which the library would have made up at random."""
    if lacking := sorted(name for name in missing if not name.startswith(spare)):
        more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
        raise ValueError(
            f"the weights lack {', '.join(lacking[:NAMED])}{more}, which {type(net).__name__} needs: they are"
            " those of another class of model"
        )


def read_tensors(folder: Path) -> dict[str, Any]:
    """The tensors of a folder's `model.safetensors`, by name. Raises ValueError when there is none."""
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"the folder {folder.name or '.'} has no model.safetensors")
    tensors: dict[str, Any] = load_file(file)
    return tensors


def accelerate(net: Any, model: ModelSpec) -> dict[str, Any]:
    """Compiles the network when its version says so, for all shapes at once, because batches have every
    shape; else puts fused encoders into it on a processor. Returns what was done, as facts."""
    from app.runtimes.encoders import fused_encoder

    if value_of(model.config, "torch_compile"):
        net.compile(dynamic=True)
        return {}
    may_fuse = model.device == "cpu" and value_of(model.config, "fused")
    return {"encoder": "fused"} if may_fuse and fused_encoder.fuse(net) else {}


def silence_libraries() -> None:
    """No progress bars and no advice in a service's log."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def count_bytes(net: Any) -> int:
    """Bytes of parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in [*net.parameters(), *net.buffers()])
