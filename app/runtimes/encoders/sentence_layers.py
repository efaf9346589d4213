"""What a sentence-transformers folder puts around its encoder: poolings, and the layers behind them; and the
encoder that is a table of vectors (StaticEmbedding, model2vec). Numerically the same as that library's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from app.runtimes import weights
from app.runtimes.encoders.sentence_folder import Layer


def pooled(hidden: Any, mask: Any, skipped: Any, poolings: Sequence[str]) -> Any:
    """(rows, width) from (rows, tokens, width). Padding, on the right, counts for nothing, nor do the first
    `skipped` tokens of each row (a prompt that is not to be pooled)."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    counted = mask.bool() & (positions >= skipped[:, None])
    return torch.cat([_pooled(hidden, counted, pooling) for pooling in poolings], dim=1)


def _pooled(hidden: Any, counted: Any, pooling: str) -> Any:
    rows = torch.arange(len(hidden), device=hidden.device)
    if pooling == "cls":
        return hidden[rows, counted.int().argmax(1)]
    if pooling == "lasttoken":
        last = counted.shape[1] - 1 - counted.flip(1).int().argmax(1)
        return hidden[rows, last] * counted[rows, last, None]
    if pooling == "max":
        return hidden.masked_fill(~counted[:, :, None], float("-inf")).amax(1)
    weight = counted.float()
    if pooling == "weightedmean":
        weight = weight * torch.arange(1, counted.shape[1] + 1, device=counted.device)
    total = weight.sum(1, keepdim=True).clamp(min=1e-9)
    return (hidden * weight[:, :, None]).sum(1) / (total.sqrt() if pooling == "mean_sqrt_len" else total)


class Normalize(nn.Module):  # type: ignore[misc]
    """Vectors of length 1."""

    def forward(self, vectors: Any) -> Any:
        return functional.normalize(vectors, dim=-1)


class Dense(nn.Module):  # type: ignore[misc]
    """A product with a matrix, an activation, and the vector itself where the folder says so."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        wide, narrow = int(config["in_features"]), int(config["out_features"])
        self.linear = nn.Linear(wide, narrow, bias=bool(config.get("bias", True)))
        self.activation = activation_named(str(config.get("activation_function"))) or nn.Tanh()
        self._is_residual = bool(config.get("use_residual"))
        if self._is_residual and wide != narrow:
            self.residual = nn.Linear(wide, narrow, bias=False)

    def forward(self, vectors: Any) -> Any:
        out = self.activation(self.linear(vectors))
        if not self._is_residual:
            return out
        return out + (self.residual(vectors) if hasattr(self, "residual") else vectors)


def activation_named(name: str) -> Any:
    """The module that a folder names, None when it is none of torch's: no other is ever made. Raises
    ValueError for what is no module."""
    if not name.startswith("torch."):
        return None
    activation = getattr(nn, name.rpartition(".")[2], None)
    if not (isinstance(activation, type) and issubclass(activation, nn.Module)):
        raise ValueError(f"the model's activation {name[:100]} is none of torch's")
    return activation()


def load_layers(layers: Sequence[Layer], device: str) -> Any:
    """The layers one after another, in 32 bits, with their weights. Raises ValueError."""
    modules = [_load_layer(layer) for layer in layers if layer.kind != "Dropout"]
    return nn.Sequential(*modules).to(device).eval().requires_grad_(False)


def without_length(layers: Any) -> Any:
    """The layers, without the one that makes vectors of length 1 at their end."""
    return layers[:-1] if len(layers) and isinstance(layers[-1], Normalize) else layers


def with_length(layers: Any) -> Any:
    """The layers, and at their end vectors of length 1."""
    return nn.Sequential(*without_length(layers), Normalize())


def _load_layer(layer: Layer) -> Any:
    if layer.kind == "Normalize":
        return Normalize()
    dimension = layer.config.get("dimension")
    module = Dense(layer.config) if layer.kind == "Dense" else _LayerNorm(int(dimension or 0))
    tensors = weights.read_tensors(layer.folder)
    missing, _ = module.load_state_dict(tensors, strict=False)
    if missing:
        raise ValueError(f"the weights of the {layer.kind} module lack {', '.join(missing)}")
    return module


class _LayerNorm(nn.Module):  # type: ignore[misc]
    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)

    def forward(self, vectors: Any) -> Any:
        return self.norm(vectors)


class StaticEncoder(nn.Module):  # type: ignore[misc]
    """The mean of its tokens' vectors."""

    def __init__(self, vectors: Any) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag.from_pretrained(vectors)

    @property
    def dtype(self) -> Any:
        return self.bag.weight.dtype

    def forward(self, rows: Sequence[Sequence[int]]) -> Any:
        """(rows, width); zeros for a row of no tokens."""
        device = self.bag.weight.device
        ids = torch.tensor([token for row in rows for token in row], dtype=torch.long, device=device)
        ends = torch.tensor([len(row) for row in rows], device=device).cumsum(0)
        return self.bag(ids, functional.pad(ends, (1, 0))[:-1]).float()


def load_static(folder: Path, device: str) -> tuple[StaticEncoder, Any]:
    """(the encoder, its tokenizer) of a StaticEmbedding module or a model2vec folder. Raises ValueError."""
    from tokenizers import Tokenizer

    tensors = weights.read_tensors(folder)
    vectors = tensors.get("embedding.weight", tensors.get("embeddings"))
    if vectors is None:
        raise ValueError("the weights hold no embedding.weight, which static embeddings are")
    if (mapping := tensors.get("mapping")) is not None:
        vectors = vectors[mapping.long()]
    if (shares := tensors.get("weights")) is not None:
        vectors = (vectors.float() * shares[:, None].float()).to(vectors.dtype)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    return StaticEncoder(vectors.contiguous()).to(device).eval().requires_grad_(False), tokenizer
