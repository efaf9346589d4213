"""Which files of a model's source are fetched: everything but weights in other formats. Pure."""

import re
from collections.abc import Sequence

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pickle")
# Weights in other formats and pictures in model cards; never needed by a runtime.
UNWANTED = re.compile(
    r"(^|/)\."
    r"|\.(bin|pt|pth|pkl|ckpt|pickle|h5|msgpack|onnx|ot|gguf|tflite|mp4|gif)$"
    r"|^(onnx|openvino|coreml)/",
    re.I,
)
UNWANTED_OF_ONNX = re.compile(r"(^|/)\.|\.(h5|msgpack|ot|gguf|tflite|mp4|gif)$|^(openvino|coreml)/", re.I)


def select_downloads(files: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those of the files (name, bytes) that a worker fetches; ONNX files where there are no others."""
    has_torch = any(name.lower().endswith((".safetensors", *PICKLES)) for name, _ in files)
    unwanted = UNWANTED if has_torch else UNWANTED_OF_ONNX
    return [(name, size) for name, size in files if not unwanted.search(name)]
