"""What is wrong with a model's files, said when it is registered: pure functions of what was read of them.

Sentences go on after "source", in the order in which a person mends them: files that are not whole, then
formats that nothing here runs, then parts that are missing.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from app.services.catalogue.model_files import INDEX, ModelFiles

NAMED = 3  # files or modules in a sentence
OTHER_FORMATS = "a `python` folder would run it (docs/runtimes.md, other formats)"
# Endings of file names, with what such a file is. The first that fits counts.
FORMATS: tuple[tuple[str, str], ...] = (
    (".gguf", "GGUF, llama.cpp's format"),
    ("openvino_model.xml", "OpenVINO's format"),
    ("saved_model.pb", "a TensorFlow SavedModel"),
    (".keras", "Keras' format"),
    (".tflite", "TensorFlow Lite"),
    (".mlmodel", "Core ML"),
    (".msgpack", "Flax' format"),
    (".engine", "a TensorRT engine"),
)
TOKENIZER_ENDINGS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    ".model",
    ".spm",
    ".tiktoken",
    "tekken.json",
    "merges.txt",
)
# Tokenizers that are made of bytes or characters and have no file.
WITHOUT_FILE = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
RUN_ONNX = ("onnx", "embedding", "pair-scoring")
READ_TEXT = ("text-generation", "embedding", "pair-scoring")
TEXT_TASKS = (
    "text-classification",
    "zero-shot-classification",
    "token-classification",
    "fill-mask",
    "feature-extraction",
    "question-answering",
    "summarization",
    "translation",
    "text2text-generation",
)
# Classes whose head has weights of its own, and the names that only a model without one begins with.
HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
BODY = {
    *(
        "embeddings",
        "encoder",
        "pooler",
        "transformer",
        "layers",
        "norm",
        "embed_tokens",
        "wte",
        "wpe",
        "h",
        "ln_f",
    ),
    *("decoder", "shared", "final_norm", "rotary_emb"),
}
SENTENCE_MODULES = (
    *("Transformer", "StaticEmbedding", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"),
)


def list_problems(files: ModelFiles, runtime: str, task: str) -> list[str]:
    """Why these files cannot be run by this runtime (""; not known yet); empty when nothing shows it."""
    whole = list(_not_whole(files))
    if runtime == "python":
        return whole
    formats = list(_formats(files, runtime))
    return [*whole, *formats] if whole or formats else list(_missing_parts(files, runtime, task))


def _not_whole(files: ModelFiles) -> Iterator[str]:
    if files.outside:
        yield f"has {_listed(files.outside)}, which leads out of the model roots: put the file itself there"
    for fault in dict.fromkeys(files.faults.values()):
        yield f"has {_listed([name for name in files.faults if files.faults[name] == fault])}, which {fault}"
    for index in (name for name in files.names if name.endswith(INDEX)):
        folder = index.rpartition("/")[0]
        shards = files.config(index).get("weight_map")
        named = set(map(str, shards.values())) if isinstance(shards, dict) else set()
        missing = sorted({f"{folder}/{name}" if folder else name for name in named} - set(files.names))
        if missing:
            yield f"lacks {_listed(missing)}, which {index} names: fetch it again"


def _formats(files: ModelFiles, runtime: str) -> Iterator[str]:
    if "adapter_config.json" in files.names and "config.json" not in files.names:
        base = (
            files.config("adapter_config.json").get("base_model_name_or_path")
            or "a model that it does not name"
        )
        yield (
            f"is an adapter of {str(base)[:200]}: merge it into that model (lovage models convert FOLDER"
            " --base BASE --output NEW) and register the result"
        )
    elif method := quantised_by(files.config("config.json")):
        yield (
            f"has weights quantised by {method}, which no runtime here runs: register the model's own weights"
        )
    elif not files.has_safetensors and not (files.has_onnx and runtime in RUN_ONNX):
        yield _format_of(files)


def _format_of(files: ModelFiles) -> str:
    """What weights there are, where none are safetensors."""
    if files.has_onnx:
        return f"has weights in ONNX, which the runtimes {', '.join(RUN_ONNX)} run"
    for ending, kind in FORMATS:
        if any(name.endswith(ending) for name in files.names):
            return f"has weights in {kind}: {OTHER_FORMATS}"
    if "model.bin" in files.names and any("vocabulary" in name for name in files.names):
        return f"has weights in CTranslate2's format: {OTHER_FORMATS}"
    if "config.cfg" in files.names and "pipeline" in files.config("meta.json"):
        return f"is a spaCy pipeline: {OTHER_FORMATS}"
    if files.pickles:
        return (
            "has pickled weights, which may run code: convert them (lovage models convert FOLDER --output"
            " NEW) and register the result"
        )
    return "has no weights in safetensors"


def quantised_by(config: Mapping[str, Any]) -> str:
    """The method by which weights were quantised, "" when they were not."""
    quantisation = config.get("quantization_config") or config.get("compression_config")
    if isinstance(quantisation, dict):
        return str(quantisation.get("quant_method") or "a method that is not named")[:100]
    return "MLX" if isinstance(config.get("quantization"), dict) else ""


def _missing_parts(files: ModelFiles, runtime: str, task: str) -> Iterator[str]:
    unknown = [kind for kind in _modules(files) if kind not in SENTENCE_MODULES]
    if runtime == "embedding" and unknown:
        yield f"has a {unknown[0]} module, which the runtime 'embedding' does not know"
    if (runtime in READ_TEXT or task in TEXT_TASKS) and not _has_tokenizer(files):
        yield (
            "has no tokenizer (tokenizer.json, vocab.txt or a SentencePiece file): copy it from the model"
            " that this one was made of"
        )
    if _lacks_head(files):
        yield f"lacks the weights of its head: they are those of a model without one, not of {_class(files)}"


def _modules(files: ModelFiles) -> list[str]:
    listed = files.configs.get("modules.json")
    modules = listed if isinstance(listed, list) else []
    return [str(module.get("type", "")).rpartition(".")[2] for module in modules if isinstance(module, dict)]


def _has_tokenizer(files: ModelFiles) -> bool:
    own = str(files.config("tokenizer_config.json").get("tokenizer_class"))
    return own in WITHOUT_FILE or any(name.endswith(TOKENIZER_ENDINGS) for name in files.names)


def _class(files: ModelFiles) -> str:
    names = files.config("config.json").get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _lacks_head(files: ModelFiles) -> bool:
    """Whether every weight belongs to the body of a class that has a head of its own."""
    names = [name for listed in files.tensors.values() for name in listed]
    return (
        bool(names) and _class(files).endswith(HEADS) and {name.partition(".")[0] for name in names} <= BODY
    )


def _listed(names: Any) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
