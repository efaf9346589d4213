"""What is wrong with a model's files, said when it is registered: pure functions of what was read of them.

Sentences go on after "source", in the order in which a person mends them: files that are not whole, then
formats that nothing here runs, then parts that are missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from app.services.catalogue.adapter_files import IN_WORDS, MERGE, base_of, is_adapter
from app.services.catalogue.model_files import INDEX, NOT_JSON, PART_CONFIGS, ModelFiles, listed_names
from app.services.catalogue.model_parts import missing_parts

LLAMA_CPP = "a managed backend serves it with llama.cpp (docs/backends.md)"
OTHER_FORMATS = "a `python` folder would run it (docs/guides/own-code.md, files of other formats)"
# Endings of file names, with what such a file is. The first that fits counts.
FORMATS: tuple[tuple[str, str], ...] = (
    ("saved_model.pb", "a TensorFlow SavedModel"),
    (".keras", "Keras' format"),
    (".tflite", "TensorFlow Lite"),
    (".mlmodel", "Core ML"),
    (".msgpack", "Flax' format"),
    (".engine", "a TensorRT engine"),
    (".h5", "HDF5, Keras' and TensorFlow's format"),
    (".nemo", "NeMo's format"),
    (".npz", "NumPy's format"),
    (".pdparams", "PaddlePaddle's format"),
    (".ftz", "fastText's format"),
    (".ubj", "XGBoost's format"),
    *(
        (ending, "a pickled Python object, as scikit-learn's are")
        for ending in (".pkl", ".pickle", ".joblib")
    ),
)
# Pickles of torch, which can be converted.
TORCH_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
RUN_ONNX = ("onnx", "embedding", "pair-scoring")
NO_WEIGHTS = "has no weights in safetensors, and none in another format that is known"


def list_problems(files: ModelFiles, runtime: str, task: str) -> list[str]:
    """Why these files cannot be run by this runtime (""; not known yet); empty when nothing shows it."""
    if runtime == "python":
        of_its_own = {name: fault for name, fault in files.faults.items() if fault != NOT_JSON}
        return list(_not_whole(replace(files, faults=of_its_own)))
    whole = list(_not_whole(files))
    # Where a file is not whole, it may be the weights.
    formats = [each for each in _formats(files, runtime) if not (whole and each == NO_WEIGHTS)]
    return [*whole, *formats] if whole or formats else list(missing_parts(files, runtime, task))


def _not_whole(files: ModelFiles) -> Iterator[str]:
    if files.outside:
        names = listed_names(files.outside)
        yield f"has {names}, which leads out of the model roots: put the file itself there"
    for fault in dict.fromkeys(files.faults.values()):
        names = listed_names([name for name in files.faults if files.faults[name] == fault])
        yield f"has {names}, which {fault}"
    for index in (name for name in files.names if name.endswith(INDEX)):
        folder = index.rpartition("/")[0]
        shards = files.config(index).get("weight_map")
        named = set(map(str, shards.values())) if isinstance(shards, dict) else set()
        missing = sorted({f"{folder}/{name}" if folder else name for name in named} - set(files.names))
        if missing:
            yield f"lacks {listed_names(missing)}, which {index} names: fetch it again"


def _formats(files: ModelFiles, runtime: str) -> Iterator[str]:
    if is_adapter(files):
        name = base_of(files)[:200]
        unknown = f"{name}, which is neither under the model roots nor on the hub: say where it is"
        base = unknown if name else "a model that its files do not name: say which"
        yield (
            f"is an adapter of {base} (config.base_model, as {IN_WORDS}), or merge it ({MERGE}) and register"
            " the result"
        )
    elif method := _method_of(files):
        yield (
            f"has weights quantised by {method}, which no runtime here runs: register the model's own weights"
        )
    elif not files.has_safetensors and not (files.has_onnx and runtime in RUN_ONNX):
        yield _format_of(files)


def _format_of(files: ModelFiles) -> str:
    """What weights there are, where none are safetensors."""
    if any(name.endswith(".gguf") for name in files.names):
        return "has weights in GGUF, llama.cpp's format: " + LLAMA_CPP
    if kind := _named_format(files):
        return f"{kind}: {OTHER_FORMATS}"
    if any(name.endswith(TORCH_PICKLES) for name in files.names):
        return (
            "has pickled weights, which may run code: convert them (lovage models convert FOLDER --output"
            " NEW) and register the result"
        )
    if files.has_onnx:
        return f"has weights in ONNX, which the runtimes {', '.join(RUN_ONNX)} run"
    for ending, kind in FORMATS:
        if any(name.endswith(ending) for name in files.names):
            return f"has weights in {kind}: {OTHER_FORMATS}"
    return NO_WEIGHTS


def _named_format(files: ModelFiles) -> str:
    """Formats that are known by more than an ending: theirs are pickles' too, or lie beside some."""
    graphs = {name.removesuffix(".xml") for name in files.names if name.endswith(".xml")}
    if any(f"{graph}.bin" in files.names for graph in graphs):
        return "has weights in OpenVINO's format"
    if "model.bin" in files.names and any("vocabulary" in name for name in files.names):
        return "has weights in CTranslate2's format"
    if "config.cfg" in files.names and "pipeline" in files.config("meta.json"):
        return "is a spaCy pipeline"
    return ""


def _method_of(files: ModelFiles) -> str:
    """The method by which any part's weights were quantised, "" when none were."""
    for name in ("config.json", *PART_CONFIGS):
        if method := quantised_by(files.config(name)):
            return method
    is_packed = any(name.endswith(".qweight") for names in files.tensors.values() for name in names)
    return "GPTQ or AWQ" if is_packed else ""


def quantised_by(config: Mapping[str, Any]) -> str:
    """The method by which weights were quantised, "" when they were not."""
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        quantisation = part.get("quantization_config") or part.get("compression_config")
        if isinstance(quantisation, dict):
            is_old = any(quantisation.get(name) for name in ("load_in_8bit", "load_in_4bit"))
            method = quantisation.get("quant_method") or ("bitsandbytes" if is_old else "")
            return str(method or "a method that is not named")[:100]
    return "MLX" if isinstance(config.get("quantization"), dict) else ""
