"""A graph of an encoder in the place of transformers' network: called with token ids, it answers with
`last_hidden_state` and `logits`, so that the runtimes around it need not know. What runs the graph is a
session with ONNX Runtime's face: `get_inputs`, `get_outputs`, `run`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from app.domain.work import ModelSpec
from app.runtimes.onnx import sessions

# Inputs that encoders have, as the tools that export them name them.
KNOWN = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
# What an encoder is asked for.
HIDDEN, LOGITS = "hidden states", "logits"
# How graphs name it, and of how many dimensions it is.
OUTPUTS = {
    HIDDEN: (("last_hidden_state", "token_embeddings", "hidden_states"), 3),
    LOGITS: (("logits", "scores"), 2),
}


class GraphNetwork:
    """On the processor's side it takes and gives torch's tensors. `session.run` may be called by several
    threads at once."""

    unpadded = False

    def __init__(self, session: Any, config: Any, dtype: str = "float32") -> None:
        import torch

        self._session, self.config = session, config
        self.dtype = getattr(torch, dtype)
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
        return SimpleNamespace(
            last_hidden_state=_tensor(answers.get(self._named(HIDDEN)), input_ids.device),
            logits=_tensor(answers.get(self._named(LOGITS)), input_ids.device),
        )

    def _named(self, kind: str) -> str:
        """The output of one of the kind's names, else the first of its dimensions."""
        names, width = OUTPUTS[kind]
        by_name = next((name for name in names if name in self._outputs), "")
        return by_name or next((name for name, rank in self._outputs.items() if rank == width), "")

    def need(self, kind: str) -> None:
        """Raises ValueError when the graph has no such output: hidden states or logits."""
        if not self._named(kind):
            listed = ", ".join(self._outputs)
            raise ValueError(f"the ONNX file gives no {kind}; its outputs are: {listed}")

    def get_input_embeddings(self) -> Any:
        """Of the matrix only its height is known."""
        return SimpleNamespace(num_embeddings=getattr(self.config, "vocab_size", None) or 0)

    def parameters(self) -> list[Any]:
        """None that torch holds."""
        return []

    buffers = parameters


def _tensor(array: Any, device: Any) -> Any:
    import torch

    return None if array is None else torch.from_numpy(array).to(device).float()


def load_onnx(folder: Path, model: ModelSpec, config: Any, kind: str) -> tuple[GraphNetwork, dict[str, Any]]:
    """The network and facts about it. `kind` is what is asked of it: HIDDEN or LOGITS."""
    file = sessions.choose_file(folder, model.config)
    session = sessions.open_session(file, model)
    network = GraphNetwork(session, config)
    network.need(kind)
    return network, {"dtype": "float32", **sessions.facts_of(session, file)}
