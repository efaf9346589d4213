"""ONNX files, opened by ONNX Runtime as a version's settings say. Knows no task."""

import importlib.metadata
from pathlib import Path
from typing import Any

from app.domain.work import ModelSpec

PREFERRED = ("model.onnx", "onnx/model.onnx")
LEVELS = ("all", "extended", "basic", "none")
# What a version may name, by ONNX Runtime's names; in the order of preference where it names nothing.
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
SETTINGS: dict[str, Any] = {
    "onnx_file": {
        "type": "string",
        "maxLength": 500,
        "description": "Which of the folder's ONNX files. Default: model.onnx, or the only one.",
    },
    "onnx_optimization": {
        "type": "string",
        "enum": list(LEVELS),
        "description": "How far ONNX Runtime rewrites the graph when it is loaded. Default: all.",
    },
    "onnx_provider": {
        "type": "string",
        "enum": list(PROVIDERS),
        "description": "What runs the graph. Default: the device's own, else the processor.",
    },
}


def version() -> str:
    """ONNX Runtime's version; "" where it is not installed."""
    try:
        return importlib.metadata.version("onnxruntime")
    except importlib.metadata.PackageNotFoundError:
        return ""


def onnx_files(folder: Path) -> list[str]:
    """Names of the ONNX files in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx") if path.is_file())


def has_only_onnx(folder: Path) -> bool:
    """Whether the folder's weights are ONNX files and nothing that torch reads."""
    return bool(onnx_files(folder)) and not any(folder.rglob("*.safetensors"))


def choose_file(folder: Path, config: dict[str, Any]) -> Path:
    """The file that is run. Raises ValueError when the folder does not tell."""
    names, named = onnx_files(folder), config.get("onnx_file")
    if named:
        if named not in names:
            raise ValueError(f"onnx_file: the folder has no {named[:200]}; it has: {', '.join(names[:10])}")
        return folder / str(named)
    chosen = next((name for name in PREFERRED if name in names), names[0] if len(names) == 1 else "")
    if not chosen:
        listed = ", ".join(names[:10]) or "none"
        raise ValueError(f"the folder has several ONNX files, say which by the setting onnx_file: {listed}")
    return folder / chosen


def open_session(file: Path, model: ModelSpec) -> Any:
    """ONNX Runtime's session. Raises ValueError with a sentence."""
    try:
        import onnxruntime
    except ImportError:
        raise ValueError("ONNX files need ONNX Runtime on the worker: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, model.threads)
    options.log_severity_level = 3
    level = model.config.get("onnx_optimization") or "all"
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _level_name(level))
    # Threads that spin while they wait for work would take the cores of the models beside this one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = _providers(model, onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # its errors have no common class
        reason = (str(error).splitlines() or [""])[0].replace(str(file), file.name)
        raise ValueError(f"ONNX Runtime does not open {file.name}: {reason[:300]}") from error


def _level_name(level: str) -> str:
    return "ORT_DISABLE_ALL" if level == "none" else f"ORT_ENABLE_{level.upper()}"


def _providers(model: ModelSpec, available: list[str]) -> list[str]:
    named = model.config.get("onnx_provider") or model.device.partition(":")[0]
    provider = PROVIDERS.get(named, PROVIDERS["cpu"])
    if provider not in available:
        if model.config.get("onnx_provider"):
            raise ValueError(f"onnx_provider: {named} is not in this worker's ONNX Runtime")
        provider = PROVIDERS["cpu"]
    return list(dict.fromkeys([provider, PROVIDERS["cpu"]]))


def facts_of(session: Any, file: Path) -> dict[str, Any]:
    """What is shown with the version."""
    return {"engine": "onnxruntime", "onnx_file": file.name, "onnx_provider": session.get_providers()[0]}
