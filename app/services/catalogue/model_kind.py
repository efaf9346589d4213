"""Which runtime and task a model asks for: a pure function of its files' names and small configuration
files."""

from collections.abc import Mapping
from typing import Any

from app.services.catalogue.model_files import ModelFiles

# A task that has a runtime of its own; every other task is the runtime `pipeline`'s.
RUNTIME_OF_TASK = {
    "text-generation": "text-generation",
    "text-to-image": "image-generation",
    "feature-extraction": "embedding",
    "sentence-similarity": "embedding",
    "embedding": "embedding",
    "text-ranking": "pair-scoring",
}
# What a model that sees pictures is called, by hubs and by its version; the runtime text-generation's own.
SEES = "image-text-to-text"
# Beginnings of the names of decoders: saved without their head, which is their embeddings, they are whole.
DECODERS = ("GPT", "Llama", "Mistral", "Qwen", "Gemma", "Phi", "OPT", "Bloom", "Falcon")
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
    "ForSemanticSegmentation": "image-segmentation",
    "ForInstanceSegmentation": "image-segmentation",
    "ForUniversalSegmentation": "image-segmentation",
    "ForDepthEstimation": "depth-estimation",
    "MTModel": "translation",
    "VitsModel": "text-to-audio",
    "VisionEncoderDecoderModel": "image-to-text",
    **dict.fromkeys(("CLIPModel", "SiglipModel", "Siglip2Model"), "zero-shot-image-classification"),
    **dict.fromkeys(("M2M100ForConditionalGeneration", "NllbMoeForConditionalGeneration"), "translation"),
}
# Beginnings of the names of encoder-decoders that make text of text.
SEQ2SEQ = ("T5", "MT5", "UMT5", "LongT5", "Bart", "MBart", "Pegasus", "LED", "Blenderbot", "ProphetNet")
SEQ2SEQ_TASKS = ("text2text-generation", "summarization", "translation")
# What only the configurations of encoders of pictures, sound or series say.
NOT_OF_TEXT = ("image_size", "num_channels", "vision_config", "conv_dim", "num_mel_bins", "prediction_length")


def kind_of(files: ModelFiles) -> tuple[str, str] | None:
    """(runtime, task), or None when the files don't tell."""
    if "predictor.py" in files.names:
        return "python", ""
    if "model_index.json" in files.names:
        return "image-generation", ""
    by_class = by_architecture(files.config("config.json"))
    if by_class and by_class[0] == "pair-scoring":
        return by_class
    if "modules.json" in files.names:
        return "embedding", ""
    if by_class and by_class[1] in SEQ2SEQ_TASKS and files.tag in SEQ2SEQ_TASKS:
        return "pipeline", files.tag  # such a class does all three
    return by_class or _without_class(files)


def _without_class(files: ModelFiles) -> tuple[str, str] | None:
    """Of files whose configuration names no class that is known."""
    if files.has_onnx and not files.has_safetensors:
        return "onnx", ""
    return kind_for_task(files.tag) if files.tag else None


def kind_for_task(task: str) -> tuple[str, str]:
    """(runtime, task) for a task's name."""
    if task == SEES:
        return "text-generation", SEES
    return (RUNTIME_OF_TASK[task], "") if task in RUNTIME_OF_TASK else ("pipeline", task)


def by_architecture(config: Mapping[str, Any]) -> tuple[str, str] | None:
    names = config.get("architectures")
    name = str(names[0]) if isinstance(names, list) and names else ""
    if sees_pictures(config, name):
        return "text-generation", SEES
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "text-generation", ""
    if name.endswith("ForSequenceClassification"):
        labels = config.get("id2label")
        is_score = config.get("num_labels") == 1 or (isinstance(labels, dict) and len(labels) == 1)
        return ("pair-scoring", "") if is_score else ("pipeline", "text-classification")
    for ending, task in TASK_OF_ENDING.items():
        if name.endswith(ending):
            return "pipeline", task
    if name.startswith(SEQ2SEQ) and name.endswith("ForConditionalGeneration"):
        return "pipeline", SEQ2SEQ_TASKS[0]
    of_text = not any(key in config for key in NOT_OF_TEXT)
    return ("embedding", "") if name.endswith("Model") and of_text else None


def class_of(files: ModelFiles) -> str:
    """transformers' class as config.json names it, "" where it names none."""
    names = files.config("config.json").get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def sees_pictures(config: Mapping[str, Any], name: str) -> bool:
    """Whether a model of this class continues conversations with pictures in them: its text has a token that
    stands for a picture, and no other network translates pictures for it (BLIP-2)."""
    has_token = any(key in config for key in ("image_token_id", "image_token_index", "img_token_id"))
    is_answering = name.endswith(("ForConditionalGeneration", "ForCausalLM", "ForVisionText2Text"))
    return has_token and is_answering and "vision_config" in config and "qformer_config" not in config


def streams_pieces(spec: Mapping[str, Any], task: str, files: ModelFiles | None) -> bool:
    """Whether a version of this runtime gives its output piece by piece, by itself or for a model of this
    class in the task that is the class's own."""
    if spec.get("streams"):
        return True
    config = files.config("config.json") if files else {}
    names = config.get("architectures") or [""]
    own_task = by_architecture(config) == (spec["name"], task)
    return own_task and names[0] in spec.get("streaming_classes", ())


def misfit(files: ModelFiles, runtime: str, task: str) -> str:
    """Why a model of this class cannot be run so, with what would run it, as the end of a sentence; "" where
    its class does not tell, or fits."""
    config, name = files.config("config.json"), class_of(files)
    if runtime == "image-generation" and "model_index.json" not in files.names and name:
        return f"does not fit: the files are those of a {name}, not of a diffusers pipeline{_instead(config)}"
    if runtime not in ("text-generation", "pair-scoring") or not (kind := by_architecture(config)):
        return ""
    fits = kind[0] == runtime or (runtime == "pair-scoring" and name.endswith("ForSequenceClassification"))
    if fits or (runtime == "text-generation" and name.startswith(DECODERS)):
        return ""
    return f"does not fit: the files are those of a {name}{_instead(config)}"


def _instead(config: Mapping[str, Any]) -> str:
    kind = by_architecture(config)
    if kind is None:
        return ""
    return f", which the runtime '{kind[0]}' runs" + (f" with the task '{kind[1]}'" if kind[1] else "")
