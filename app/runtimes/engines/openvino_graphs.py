"""Encoders run by OpenVINO: converted from torch's network by tracing, kept as a file, opened for as many
passes at once as there are. Knows no task and no choice.

The file is kept because conversion takes longer than opening, and needs torch's weights in memory beside its
own.
"""

import importlib.metadata
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from app.domain.work import ModelSpec
from app.runtimes.engines.graph_network import HIDDEN

MISSING = "OpenVINO is not installed on the worker: pip install 'lovage[openvino]'"
PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
GRAPHS = "graphs"
GRAPH_FILE = "model.xml"
# Files of graphs on one worker, by their bytes; the longest unused go first.
MOST_GRAPH_BYTES = 8 * 2**30


def version() -> str:
    """OpenVINO's version; "" where it is not installed."""
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return ""


class OpenVinoSession:
    """With the face of ONNX Runtime's session. Each thread that runs it has a request of its own."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._requests = threading.local()

    def get_inputs(self) -> list[Any]:
        return [_port(each) for each in self._compiled.inputs]

    def get_outputs(self) -> list[Any]:
        return [_port(each) for each in self._compiled.outputs]

    def run(self, names: list[str], feeds: dict[str, Any]) -> list[Any]:
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        results = request.infer(feeds, share_inputs=True)
        return [results[name] for name in names]


def _port(port: Any) -> SimpleNamespace:
    return SimpleNamespace(name=port.get_any_name(), shape=list(port.partial_shape))


def open_graph(graph: Any, model: ModelSpec, dtype: str, passes: int) -> OpenVinoSession:
    """A graph, or a file with one, for so many passes side by side. Its threads are not
    bound to cores: other models' would be bound to the same."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[dtype],
        "INFERENCE_NUM_THREADS": max(1, model.threads),
        "NUM_STREAMS": passes,
        "ENABLE_CPU_PINNING": False,
    }
    return OpenVinoSession(openvino.Core().compile_model(graph, "CPU", settings))


def convert(net: Any, kind: str, *, has_types: bool) -> Any:
    """OpenVINO's graph of transformers' network, for rows of any number and length. `kind`: what it is to
    answer."""
    import openvino
    import torch

    rows, tokens = 2, 9
    mask = (torch.arange(tokens) < torch.tensor([[tokens], [4]])).long()
    example = {"input_ids": torch.ones(rows, tokens, dtype=torch.int64), "attention_mask": mask}
    if has_types:
        example["token_type_ids"] = torch.zeros(rows, tokens, dtype=torch.int64)
    with torch.inference_mode():
        graph = openvino.convert_model(answering(net, kind), example_input=example)
    graph.outputs[0].get_tensor().set_names({kind_name(kind)})
    return graph


def kind_name(kind: str) -> str:
    return "last_hidden_state" if kind == HIDDEN else "logits"


def answering(net: Any, kind: str) -> Any:
    """The network as a module that answers one tensor."""
    from torch import nn

    class Answering(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Any:
            types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            answer = self.net(input_ids=input_ids, attention_mask=attention_mask, **types)
            return getattr(answer, kind_name(kind))

    return Answering().eval()


def keep_graph(graph: Any, folder: Path) -> Path | None:
    """Writes a graph into a folder of its own; None when the disk does not take it."""
    import openvino

    part = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        openvino.save_model(graph, part / GRAPH_FILE, compress_to_fp16=False)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except (OSError, RuntimeError) as error:
        print(f"the converted graph is not kept: {error}")
        shutil.rmtree(part, ignore_errors=True)
        return None
    remove_oldest(folder.parent, MOST_GRAPH_BYTES, keep=folder)
    return folder / GRAPH_FILE


def kept_graph(folder: Path | None) -> Path | None:
    """The file that `keep_graph` wrote, marked as used."""
    if folder is None or not (folder / GRAPH_FILE).is_file():
        return None
    folder.touch()
    return folder / GRAPH_FILE


def remove_oldest(parent: Path, most_bytes: int, *, keep: Path) -> None:
    """Removes graphs that were not used for the longest time until the rest has at most so many bytes."""
    folders = [folder for folder in parent.iterdir() if folder.is_dir() and folder != keep]
    total = bytes_of(keep)
    for folder in sorted(folders, key=lambda folder: -folder.stat().st_mtime):
        total += bytes_of(folder)
        if total > most_bytes:
            shutil.rmtree(folder, ignore_errors=True)


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
