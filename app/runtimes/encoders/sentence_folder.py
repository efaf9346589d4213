"""What a sentence-transformers folder says about itself: pooling, length limit, prompt. Reads JSON; imports
no library.

A folder without `modules.json` is any encoder: mean pooling, the encoder's own limit. A module that is not
understood is refused, because leaving it out would give wrong vectors without a word.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POOLINGS = ("mean", "cls", "max", "mean_sqrt_len", "weightedmean", "lasttoken")
MODULES = ("Transformer", "Pooling", "Normalize")
OLD_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """`limit` is in tokens, 0 when the folder has none; `prompt` is put before every text, unless a request
    chooses another of `prompts`."""

    pooling: str = "mean"
    limit: int = 0
    lower: bool = False
    prompt: str = ""
    normalize: bool = True
    prompts: Mapping[str, str] = field(default_factory=dict)


def read(folder: Path) -> SentenceFolder:
    """Raises ValueError with a sentence for modules or poolings that are not understood."""
    listed = _json(folder / "modules.json", [])
    modules = {_kind(module): folder / str(module.get("path", "")) for module in listed}
    if unknown := [kind for kind in modules if kind not in MODULES]:
        raise ValueError(f"the model has a {unknown[0]} module, which the runtime 'embedding' does not know")
    limits = _json(folder / "sentence_bert_config.json", {})
    about = _json(folder / "config_sentence_transformers.json", {})
    return SentenceFolder(
        pooling=_pooling(_json(modules.get("Pooling", folder / "1_Pooling") / "config.json", {})),
        limit=int(limits.get("max_seq_length") or 0),
        lower=bool(limits.get("do_lower_case")),
        prompt=_prompt(about),
        normalize="Normalize" in modules or not modules,
        prompts={str(name): str(text) for name, text in (about.get("prompts") or {}).items()},
    )


def _kind(module: dict[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _pooling(config: dict[str, Any]) -> str:
    modes = [mode for key, mode in OLD_KEYS.items() if config.get(key)]
    named = config.get("pooling_mode")
    named = named if isinstance(named, list) else [named] if named else []
    modes += [str(mode).removesuffix("_tokens") for mode in named]
    if len(modes) > 1 or any(mode not in POOLINGS for mode in modes):
        raise ValueError(
            f"the model's pooling ({', '.join(map(str, modes))}) is not one of {', '.join(POOLINGS)}"
        )
    return modes[0] if modes else "mean"


def _prompt(config: dict[str, Any]) -> str:
    return str((config.get("prompts") or {}).get(config.get("default_prompt_name") or "", "") or "")


def _json(file: Path, absent: Any) -> Any:
    return json.loads(file.read_text("utf-8")) if file.is_file() else absent
