"""Which runtime and task a model asks for: a pure function of its files' names and small configuration
files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Configuration files that may name code of the model's author.
CODE_FILES = (
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
CONFIG_FILES = ("model_index.json", "modules.json", *CODE_FILES)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".h5", ".msgpack")

# A task that has a runtime of its own; every other task is the runtime `pipeline`'s.
RUNTIME_OF_TASK = {
    "text-generation": "text-generation",
    "text-to-image": "image-generation",
    "feature-extraction": "embedding",
    "sentence-similarity": "embedding",
    "embedding": "embedding",
    "text-ranking": "pair-scoring",
}
# Endings of transformers' class names in config.json's `architectures` -> pipeline task.
TASK_OF_ENDING = {
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForImageClassification": "image-classification",
    "ForAudioClassification": "audio-classification",
    "ForObjectDetection": "object-detection",
    "ForSpeechSeq2Seq": "automatic-speech-recognition",
    "WhisperForConditionalGeneration": "automatic-speech-recognition",
    "ForCTC": "automatic-speech-recognition",
}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What is known of a model's files: names, sizes, and the parsed configuration files that are there."""

    names: Sequence[str]
    configs: Mapping[str, Any] = field(default_factory=dict)
    tag: str = ""  # the hub's pipeline tag, its author's word

    @property
    def has_safetensors(self) -> bool:
        """Whether any weights are in the one format that holds no code."""
        return any(name.endswith(".safetensors") for name in self.names)

    @property
    def pickles(self) -> list[str]:
        """Files that may run code when they are loaded."""
        return [name for name in self.names if name.endswith(PICKLES)]

    @property
    def needs_own_code(self) -> bool:
        """Whether the model asks for Python code of its author to be run."""
        configs = (self.configs.get(name) for name in CODE_FILES)
        return any(isinstance(config, dict) and "auto_map" in config for config in configs)


def _config(files: ModelFiles) -> dict[str, Any]:
    config = files.configs.get("config.json")
    return config if isinstance(config, dict) else {}


def kind_of(files: ModelFiles) -> tuple[str, str] | None:
    """(runtime, task), or None when the files don't tell."""
    if "predictor.py" in files.names:
        return "python", ""
    if "model_index.json" in files.names:
        return "image-generation", ""
    by_class = _by_architecture(_config(files))
    if by_class and by_class[0] == "pair-scoring":
        return by_class
    if "modules.json" in files.names:
        return "embedding", ""
    if by_class is None and files.tag:
        return kind_for_task(files.tag)
    return by_class


def kind_for_task(task: str) -> tuple[str, str]:
    """(runtime, task) for a task's name."""
    return (RUNTIME_OF_TASK[task], "") if task in RUNTIME_OF_TASK else ("pipeline", task)


def _by_architecture(config: Mapping[str, Any]) -> tuple[str, str] | None:
    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "text-generation", ""
    if name.endswith("ForSequenceClassification"):
        labels = config.get("id2label")
        is_score = config.get("num_labels") == 1 or (isinstance(labels, dict) and len(labels) == 1)
        return ("pair-scoring", "") if is_score else ("pipeline", "text-classification")
    for ending, task in TASK_OF_ENDING.items():
        if name.endswith(ending):
            return "pipeline", task
    return ("embedding", "") if name.endswith("Model") else None
