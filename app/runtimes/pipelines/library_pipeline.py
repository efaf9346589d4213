"""transformers' own pipelines: loaded as every network is here, and called so that a job's answer is the same
alone and in company. Knows no job."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.domain.work import ModelSpec
from app.runtimes import weights
from app.runtimes.adapters import tokenizer_folder

MAIN = ("text", "audio", "image")  # the input that a pipeline takes by position
# Tasks whose inputs are brought to one size, so that a batch adds nothing to any of them. In others padding
# changes an answer by a little (sound, pictures of any size) or is seen in it (feature-extraction).
BATCHED = (
    "text-classification",
    "token-classification",
    "zero-shot-classification",
    "fill-mask",
    "image-classification",
    "zero-shot-image-classification",
)
COMPONENTS = {
    "tokenizer": "AutoTokenizer",
    "feature_extractor": "AutoFeatureExtractor",
    "image_processor": "AutoImageProcessor",
    "processor": "AutoProcessor",
}
# What a task's tokenizer gets, so that long texts are cut at the model's limit.
CUTTING: dict[str, dict[str, Any]] = {
    "text-classification": {"truncation": True},
    "feature-extraction": {"truncation": True},
    "fill-mask": {"tokenizer_kwargs": {"truncation": True}},
}


def load_pipeline(model: ModelSpec) -> Any:
    """The pipeline of the model's task. Raises ValueError when the weights are not of the task's class."""
    import transformers
    from transformers.pipelines import check_task

    folder = weights.model_folder(model)
    _, target, _ = check_task(model.task)
    config = transformers.AutoConfig.from_pretrained(folder, **weights.loading_options(model))
    net, _ = weights.load_network(class_for(config, target["pt"], model.task), model)
    complete_config(net)
    kind = _imported(target["impl"])
    parts = _load_parts(kind, folder, model)
    return kind(model=net, task=model.task, device=model.device, **parts)


def complete_config(net: Any) -> None:
    """Fills in what follows from the rest of a configuration, and what pipelines fail without."""
    config = net.config
    if getattr(config, "label2id", None) is None and getattr(config, "id2label", None):
        config.label2id = {label: int(number) for number, label in config.id2label.items()}


def class_for(config: Any, candidates: Sequence[Any], task: str) -> Any:
    """The class of the task's that this configuration's model has. Raises ValueError when it has none."""
    fitting = [candidate for candidate in candidates if type(config) in candidate._model_mapping]
    if not fitting:
        raise ValueError(f"a {config.model_type} model cannot do {task}")
    return fitting[0]


def _imported(target: Any) -> Any:
    if not isinstance(target, str):
        return target
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _load_parts(kind: Any, folder: Path, model: ModelSpec) -> dict[str, Any]:
    """The tokenizer and processors that this kind of pipeline has: those it needs, and those it may use."""
    import transformers

    parts: dict[str, Any] = {}
    for name, loader in COMPONENTS.items():
        needed = getattr(kind, f"_load_{name}", False)
        if needed is False:
            continue
        try:
            own = tokenizer_folder(folder, model.adapter) if name == "tokenizer" else folder
            parts[name] = getattr(transformers, loader).from_pretrained(own, **weights.loading_options(model))
        except (OSError, ValueError, TypeError, KeyError):
            if needed:
                raise
    return parts


def call_pipeline(pipe: Any, inputs: list[dict[str, Any]], options: dict[str, Any]) -> list[Any]:
    """One call; as one batch where company changes nothing, else one after the other."""
    values = [next(prepared[name] for name in MAIN if name in prepared) for prepared in inputs]
    options = {**CUTTING.get(pipe.task, {}), **options}
    if len(values) == 1:  # some pipelines unwrap the answer to a list of one
        return [pipe(values[0], **options)]
    together = pipe.task in BATCHED and _can_pad(pipe)
    return list(pipe(values, batch_size=len(values) if together else 1, **options))


def _can_pad(pipe: Any) -> bool:
    """Whether texts of different length can share a pass. A decoder finds a text's end by the id that its
    configuration calls padding, so the tokenizer must pad with that one."""
    if pipe.tokenizer is None:
        return True
    ours, theirs = pipe.tokenizer.pad_token_id, pipe.model.config.get_text_config().pad_token_id
    ends_by_padding = hasattr(pipe.model, "score")
    return ours is not None and (not ends_by_padding or ours == theirs)
