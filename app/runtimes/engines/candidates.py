"""The candidates for one version on one worker: torch, ONNX Runtime where there is a graph, OpenVINO where
it is installed. Knows how each is loaded, not which is best."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.domain.version_settings import AUTO, value_of
from app.domain.work import ModelSpec
from app.runtimes import choices, dtype_choice, weights
from app.runtimes.engines import engine_choice, graph_network, openvino_graphs
from app.runtimes.engines.engine_choice import ONNX_RUNTIME, OPENVINO, TORCH, Candidate, Loaded, Yardstick
from app.runtimes.onnx import sessions

# Of a larger model, several copies at once would not fit beside its neighbours, and trying them would take
# minutes.
MOST_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Encoder:
    """What the candidates are made of: the folder of the network, transformers' class and configuration for
    it, what it is asked for (`graph_network.HIDDEN`, …), how many passes run side by side, and which weights
    may be missing."""

    folder: Path
    auto_class: Any
    config: Any
    kind: str
    passes: int
    has_types: bool = False
    spare: tuple[str, ...] = ()


def load_encoder(encoder: Encoder, model: ModelSpec, yardstick: Yardstick) -> Loaded:
    """(the network on its device, facts about it). On a processor the engine is the version's, or chosen;
    elsewhere torch's dtype is."""
    wish, is_onnx = value_of(model.config, "engine"), sessions.has_only_onnx(encoder.folder)
    usual = ONNX_RUNTIME if is_onnx else TORCH
    if model.device != "cpu":
        if wish not in (AUTO, usual):
            raise ValueError(f"engine: {wish} runs this folder on processors only")
        if is_onnx:
            return graph_network.load_onnx(encoder.folder, model, encoder.config, encoder.kind)
        comparison = dtype_choice.Comparison(yardstick.answer, yardstick.agreement, yardstick.least)
        return weights.load_network(
            encoder.auto_class, model, comparison, folder=encoder.folder, spare=encoder.spare
        )
    candidates = list_candidates(encoder, model, wish, usual)
    about = [wish, *(f"{each.engine} {each.dtype} {each.skipped}" for each in candidates)]
    about += [openvino_graphs.version(), sessions.version(), str(yardstick.least)]
    return engine_choice.choose(candidates, yardstick, choices.file_for(model, "engine", *about))


def list_candidates(encoder: Encoder, model: ModelSpec, wish: str, usual: str) -> list[Candidate]:
    """First the usual engine, which the others are compared with, then those of the engine that is wished
    for; `auto`: of all. Raises ValueError for a wish that cannot be met."""
    is_onnx = usual == ONNX_RUNTIME
    dtypes = ("float32",) if is_onnx else dtypes_to_try(encoder.folder, model)
    reason = "" if wish != AUTO else _why_only_torch(encoder.folder, model)
    make_usual = _onnx if is_onnx else _torch
    listed = [make_usual(encoder, model, dtype) for dtype in dtypes]
    if wish not in (AUTO, usual):
        listed = [replace(listed[0], is_measure=True)]
    others = {engine: make for engine, make in _MAKERS.items() if engine != usual and not reason}
    for engine, make in others.items():
        if wish in (AUTO, engine):
            listed += [make(encoder, model, dtype) for dtype in dtypes if dtype != "float16"]
    if not any(each.can_be_chosen for each in listed):
        named = "; ".join(dict.fromkeys(each.skipped for each in listed if each.skipped))
        raise ValueError(f"engine: {wish} cannot be used: {named or 'not for this folder and dtype'}")
    return listed


def dtypes_to_try(folder: Path, model: ModelSpec) -> tuple[str, ...]:
    """The version's dtype; `auto`: 32 bits, and half where this device is fast with it; half alone where the
    weights were saved so."""
    named = value_of(model.config, "dtype")
    if named != AUTO:
        return (named,)
    half = dtype_choice.fast_half_precision(model.device)
    if not half:
        return ("float32",)
    return (half,) if dtype_choice.stored_half(folder) == half else ("float32", half)


def _why_only_torch(folder: Path, model: ModelSpec) -> str:
    """Why no other engine is tried; "": they are."""
    if value_of(model.config, "torch_compile") or not value_of(model.config, "fused"):
        return "the version says how torch runs it"
    if model.adapter:
        return "an adapter is merged into its weights"
    if model.trust_remote_code:
        return "the network is of the folder's own code"
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return f"its weights are larger than {MOST_BYTES} bytes" if size > MOST_BYTES else ""


def _torch(encoder: Encoder, model: ModelSpec, dtype: str) -> Candidate:
    load = weights.loader(encoder.auto_class, model, encoder.folder, encoder.spare)

    def load_fused() -> Loaded:
        net = load(dtype)
        return net, weights.accelerate(net, model)

    return Candidate(TORCH, dtype, load_fused)


def _onnx(encoder: Encoder, model: ModelSpec, dtype: str) -> Candidate:
    if dtype != "float32":
        return Candidate(ONNX_RUNTIME, dtype, skipped="ONNX Runtime has no fast half precision on processors")
    if not sessions.onnx_files(encoder.folder):
        return Candidate(ONNX_RUNTIME, dtype, skipped="the folder has no ONNX file")

    def load() -> Loaded:
        return graph_network.load_onnx(encoder.folder, model, encoder.config, encoder.kind)

    return Candidate(ONNX_RUNTIME, dtype, load)


def _openvino(encoder: Encoder, model: ModelSpec, dtype: str) -> Candidate:
    if not openvino_graphs.version():
        return Candidate(OPENVINO, dtype, skipped=openvino_graphs.MISSING)

    def load() -> Loaded:
        graph = _graph(encoder, model)
        session = openvino_graphs.open_graph(graph, model, dtype, encoder.passes)
        network = graph_network.GraphNetwork(session, encoder.config, dtype)
        network.need(encoder.kind)
        return network, {}

    return Candidate(OPENVINO, dtype, load)


_MAKERS: dict[str, Callable[[Encoder, ModelSpec, str], Candidate]] = {
    ONNX_RUNTIME: _onnx,
    OPENVINO: _openvino,
}


def _graph(encoder: Encoder, model: ModelSpec) -> Any:
    """What OpenVINO opens: the folder's ONNX file, the graph kept of an earlier load, or a fresh one."""
    if sessions.has_only_onnx(encoder.folder):
        return sessions.choose_file(encoder.folder, model.config)
    folder = _graph_folder(encoder, model)
    if kept := openvino_graphs.kept_graph(folder):
        return kept
    net = weights.loader(encoder.auto_class, model, encoder.folder, encoder.spare)("float32")
    graph = openvino_graphs.convert(net, encoder.kind, has_types=encoder.has_types)
    return (openvino_graphs.keep_graph(graph, folder) if folder else None) or graph


def _graph_folder(encoder: Encoder, model: ModelSpec) -> Path | None:
    """Where the version's converted graph is kept; None: nothing is."""
    if not model.choices:
        return None
    key = "\n".join((model.version, encoder.kind, openvino_graphs.version()))
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return Path(model.choices) / openvino_graphs.GRAPHS / name
