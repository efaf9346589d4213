"""An ONNX file of an encoder in the place of transformers' network: called with token ids, it answers with
`last_hidden_state` and `logits`, so that the runtimes around it need not know."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from app.domain.work import ModelSpec
from app.runtimes.onnx import sessions

# Inputs that encoders have, as the tools that export them name them.
KNOWN = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
HIDDEN = ("last_hidden_state", "token_embeddings", "hidden_states")
LOGITS = ("logits", "scores")


class OnnxNetwork:
    """On the processor's side it takes and gives torch's tensors. `session.run` may be called by several
    threads at once."""

    unpadded = False

    def __init__(self, session: Any, config: Any) -> None:
        import torch

        self._session, self.config = session, config
        self.dtype = torch.float32
        self.base_model = self
        self._inputs = [each.name for each in session.get_inputs()]
        self._outputs = {each.name: len(each.shape) for each in session.get_outputs()}
        if unknown := [name for name in self._inputs if name not in KNOWN]:
            raise ValueError(
                f"the ONNX file has an input {unknown[0]!r}, as no encoder has: the runtime 'onnx' runs it"
            )

    def __call__(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None) -> Any:
        import torch

        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        known = dict(zip(KNOWN, (input_ids, mask, types, positions), strict=True))
        feeds = {name: known[name].cpu().numpy() for name in self._inputs}
        names = list(self._outputs)
        answers = dict(zip(names, self._session.run(names, feeds), strict=True))
        hidden, logits = self._named(HIDDEN, 3), self._named(LOGITS, 2)
        return SimpleNamespace(
            last_hidden_state=_tensor(answers.get(hidden), input_ids.device),
            logits=_tensor(answers.get(logits), input_ids.device),
        )

    def _named(self, names: tuple[str, ...], width: int) -> str:
        """The output of one of these names, else the first of so many dimensions."""
        by_name = next((name for name in names if name in self._outputs), "")
        return by_name or next((name for name, rank in self._outputs.items() if rank == width), "")

    def need(self, kind: str) -> None:
        """Raises ValueError when the graph has no such output: hidden states or logits."""
        if not self._named(*((HIDDEN, 3) if kind == "hidden states" else (LOGITS, 2))):
            listed = ", ".join(self._outputs)
            raise ValueError(f"the ONNX file gives no {kind}; its outputs are: {listed}")

    def parameters(self) -> list[Any]:
        """None that torch holds."""
        return []

    buffers = parameters


def _tensor(array: Any, device: Any) -> Any:
    import torch

    return None if array is None else torch.from_numpy(array).to(device).float()


def load(folder: Path, model: ModelSpec, config: Any, kind: str) -> tuple[OnnxNetwork, dict[str, Any]]:
    """The network and facts about it. `kind` is what is asked of it: "hidden states" or "logits"."""
    file = sessions.choose_file(folder, model.config)
    session = sessions.open_session(file, model)
    network = OnnxNetwork(session, config)
    network.need(kind)
    return network, {"dtype": "float32", **sessions.facts_of(session, file)}
