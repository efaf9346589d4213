"""What registering looks at of adapters (LoRA and its kin): pure functions of what was read of
their files."""

from collections.abc import Mapping
from typing import Any

from app.domain.errors import wrong_field
from app.services.catalogue.model_files import ModelFiles, wrong_source
from app.services.catalogue.model_kind import class_of

CONFIG = "adapter_config.json"
SETTING = "base_model"
FIELD = f"config.{SETTING}"
IN_WORDS = "path:FOLDER, hf:org/name or owner/name of a model here"
MERGE = "lovage models convert FOLDER --base BASE --output NEW"
# What peft adds to a prompt or between layers, and cannot be merged into weights.
NOT_MERGED = (
    "PROMPT_TUNING",
    "MULTITASK_PROMPT_TUNING",
    "P_TUNING",
    "PREFIX_TUNING",
    "ADAPTION_PROMPT",
    "CPT",
)
# Of adapters that were trained with a head, the ending of the class that has one.
HEAD_OF_TASK = {
    "SEQ_CLS": "ForSequenceClassification",
    "TOKEN_CLS": "ForTokenClassification",
    "QUESTION_ANS": "ForQuestionAnswering",
}


def is_adapter(files: ModelFiles) -> bool:
    """Whether there are an adapter's weights and no others; the base's configuration may lie beside them."""
    whole = any(name.startswith(("model", "pytorch_model")) for name in files.names)
    if CONFIG in files.names:
        return not ("config.json" in files.names and whole)
    return _is_of_diffusers(files)


def _is_of_diffusers(files: ModelFiles) -> bool:
    """Whether there is nothing but one file of LoRA weights, as diffusers' trainings leave it."""
    weights = [name for name in files.names if name.endswith(".safetensors")]
    tensors = files.tensors.get(weights[0], ()) if len(weights) == 1 else ()
    is_whole = any(name in files.names for name in ("config.json", "model_index.json", "modules.json"))
    return not is_whole and any("lora" in name.lower() for name in tensors)


def base_of(files: ModelFiles) -> str:
    """What the adapter's own files call its base; "" where they do not."""
    return base_in(files.config(CONFIG))


def base_in(config: Mapping[str, Any]) -> str:
    """The same, of what CONFIG holds."""
    return str(config.get("base_model_name_or_path") or "")[:500]


def check_kind(files: ModelFiles) -> None:
    """Raises InvalidRequest for an adapter that cannot be merged when it is loaded."""
    kind = str(files.config(CONFIG).get("peft_type") or "")
    if kind in NOT_MERGED:
        raise wrong_source(
            f"is an adapter of the kind {kind}, which no runtime here runs: it has no weights to merge"
        )
    if "modules.json" in files.names:
        raise wrong_source("is an adapter with modules of sentence-transformers: save the merged model there")
    if not files.has_safetensors and files.pickles:
        raise wrong_source(f"is an adapter in pickled weights, which may run code: merge it ({MERGE})")


def check_base(adapter: ModelFiles, base: ModelFiles) -> None:
    """Raises InvalidRequest for a base that the adapter cannot be merged into."""
    if is_adapter(base) or not base.has_safetensors:
        raise wrong_field(FIELD, "has no weights of its own in safetensors to merge an adapter into")
    if base.needs_own_code:
        raise wrong_field(FIELD, "wants to run its own code (auto_map), which is not done for an adapter")
    task = str(adapter.config(CONFIG).get("task_type") or "")
    head = HEAD_OF_TASK.get(task, "")
    if head and not class_of(base).endswith(head):
        raise wrong_field(
            FIELD,
            f"is a {class_of(base) or 'model without a class'}, and the adapter needs a …{head} ({task})",
        )
