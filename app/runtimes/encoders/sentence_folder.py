"""What a sentence-transformers folder says about itself: its encoder, pooling, layers behind it, limits,
prompts. Reads JSON; imports no library.

Old and new layouts are read as sentence-transformers 6 reads them. A folder without `modules.json` is any
encoder: mean pooling (a causal model: its last token), nothing behind it, the encoder's own limit. A module
that is not understood is refused, because leaving it out would give wrong vectors without a word.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The order is that in which the old keys of one folder are put side by side.
OLD_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLINGS = tuple(OLD_KEYS.values())
ENCODERS = ("Transformer", "StaticEmbedding")
LAYERS = ("Dense", "LayerNorm", "Normalize", "Dropout")
MODULES = (*ENCODERS, "Pooling", *LAYERS)
# Where a Transformer module keeps its limit, as sentence-transformers looks for it.
LIMIT_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)


@dataclass(frozen=True, slots=True)
class Layer:
    """A module behind the pooling: its kind (one of LAYERS), its folder, its settings."""

    kind: str
    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """`encoder` is the folder of the network and its tokenizer; `poolings` stand side by side in the vector;
    `limit` is in tokens, 0 when the folder has none; `width`: vectors are cut to so many numbers, 0: not."""

    encoder: Path
    is_static: bool = False
    poolings: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    layers: tuple[Layer, ...] = ()
    limit: int = 0
    lower: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str = ""
    width: int = 0


def read(folder: Path) -> SentenceFolder:
    """Raises ValueError with a sentence for modules or poolings that are not understood."""
    listed = _json(folder / "modules.json", [])
    if not listed:
        pooling = "lasttoken" if _is_causal(_json(folder / "config.json", {})) else "mean"
        return SentenceFolder(folder, poolings=(pooling,))
    modules = [(_kind(module), folder / str(module.get("path", ""))) for module in listed]
    kinds = [kind for kind, _ in modules]
    check_modules(kinds)
    (kind, encoder), limits = modules[0], _limits(modules[0][1])
    pooling_config = _json(modules[1][1] / "config.json", {}) if "Pooling" in kinds else {}
    whole = _json(folder / "config_sentence_transformers.json", {})
    prompts = {name: str(prompt or "") for name, prompt in (whole.get("prompts") or {}).items()}
    return SentenceFolder(
        encoder=encoder,
        is_static=kind == "StaticEmbedding",
        poolings=poolings_of(pooling_config),
        include_prompt=bool(pooling_config.get("include_prompt", True)),
        layers=tuple(_layer(*module) for module in modules if module[0] in LAYERS),
        limit=int(limits.get("max_seq_length") or 0),
        lower=bool(limits.get("do_lower_case")),
        prompts=prompts,
        default_prompt=prompts.get(whole.get("default_prompt_name") or "", ""),
        width=int(whole.get("truncate_dim") or 0),
    )


def check_modules(kinds: list[str]) -> None:
    """An encoder first, then a pooling (not behind static embeddings), then layers. Raises ValueError."""
    if unknown := [kind for kind in kinds if kind not in MODULES]:
        raise ValueError(
            f"the model has a {unknown[0]} module, which the runtime 'embedding' does not know; it knows "
            + ", ".join(MODULES)
        )
    head = 1 if kinds[0] == "StaticEmbedding" else 2
    in_order = kinds[0] in ENCODERS and kinds[1:head] == ["Pooling"] * (head - 1)
    if not in_order or any(kind not in LAYERS for kind in kinds[head:]):
        raise ValueError(f"the model's modules are in an order that is not known: {', '.join(kinds)}")


def poolings_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """From a Pooling module's settings; mean where they name none. Raises ValueError."""
    named = config.get("pooling_mode")
    named = list(named) if isinstance(named, list | tuple) else [named] if named else []
    modes = [str(mode).removesuffix("_tokens") for mode in named]
    modes = modes or [mode for key, mode in OLD_KEYS.items() if config.get(key)]
    if any(mode not in POOLINGS for mode in modes):
        raise ValueError(f"the model's pooling ({', '.join(modes)}) is not one of {', '.join(POOLINGS)}")
    return tuple(modes) or ("mean",)


def _layer(kind: str, folder: Path) -> Layer:
    config = _json(folder / "config.json", {}) if folder.name else {}
    used = {config.get(name) or "sentence_embedding" for name in ("module_input_name", "module_output_name")}
    if used != {"sentence_embedding"}:
        raise ValueError(f"the model's {kind} module works on {', '.join(sorted(used))}, which is not known")
    return Layer(kind, folder, config)


def _limits(encoder: Path) -> dict[str, Any]:
    return next((config for name in LIMIT_FILES if (config := _json(encoder / name, {}))), {})


def _is_causal(config: Mapping[str, Any]) -> bool:
    names = config.get("architectures") or [""]
    return str(names[0]).endswith("ForCausalLM") and bool(config.get("is_causal", True))


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _json(file: Path, absent: Any) -> Any:
    return json.loads(file.read_text("utf-8")) if file.is_file() else absent
