"""Folders with randomly initialised models over MiniLM's own tokenizer: the right size and shape, no
download.

Knows transformers; nothing of the platform.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.runtimes.demo import demo_minilm_folder
from scripts.own_platform import terminable

# Each of them is one token of MiniLM's tokenizer.
WORDS = (
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
)
# all-MiniLM-L6-v2's own shape: 6 layers, 384 wide, 22.7 million parameters, 90 MB in 32 bits.
SHAPE: dict[str, Any] = {
    "vocab_size": 30_522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


@contextmanager
def models_folder() -> Iterator[Path]:
    """For such models; removed after the block."""
    with (
        terminable(),
        tempfile.TemporaryDirectory(prefix="lovage-bench-models-", ignore_cleanup_errors=True) as folder,
    ):
        yield Path(folder)


def encoder(folder: Path, seed: int) -> Path:
    """A sentence encoder of 90 MB."""
    from transformers import BertConfig, BertModel

    return _saved(folder, seed, lambda: BertModel(BertConfig(**SHAPE)))


def cross_encoder(folder: Path, seed: int = 0) -> Path:
    """A scorer of pairs: 6 layers, 384 wide, one logit."""
    from transformers import BertConfig, BertForSequenceClassification

    return _saved(folder, seed, lambda: BertForSequenceClassification(BertConfig(**SHAPE, num_labels=1)))


def causal(folder: Path, seed: int = 0, tokenizer: Path | None = None, **changes: Any) -> Path:
    """A text model, GPT-2's architecture, 25 million parameters unless the `changes` of its shape say
    otherwise."""
    from transformers import GPT2Config, GPT2LMHeadModel

    shape: dict[str, Any] = {
        "vocab_size": 30_522,
        "n_embd": 384,
        "n_layer": 6,
        "n_head": 6,
        "n_positions": 512,
        "initializer_range": 0.1,
    }
    ends = {"bos_token_id": 101, "eos_token_id": None, "pad_token_id": 0}
    config = {**shape, **ends, **changes}
    return _saved(folder, seed, lambda: GPT2LMHeadModel(GPT2Config(**config)), tokenizer)


def _saved(folder: Path, seed: int, make: Any, like: Path | None = None) -> Path:
    import torch
    from transformers import AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(like or demo_minilm_folder())
    make().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
