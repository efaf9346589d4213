"""Tiny random models in folders as people have them, made in code: one layer, 32 numbers wide, seed 1."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers as t

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    "the",
    "whale",
    "is",
    "white",
    "ada",
    "lives",
    "in",
    "rome",
    "good",
    "bad",
    "word",
    "lovage",
    "plant",
    "hello",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
VOCABULARY = (*SPECIAL, *WORDS, *".,:;!?'-", *LETTERS, *(f"##{letter}" for letter in LETTERS))
BERT: dict[str, Any] = {**SMALL, "vocab_size": len(VOCABULARY), "max_position_embeddings": 64}


def word_pieces(**more: Any) -> Any:
    """A tokenizer of BERT's kind with a hundred pieces: a few words, and every letter."""
    vocabulary = {piece: number for number, piece in enumerate(VOCABULARY)}
    return t.BertTokenizer(vocab=vocabulary, **more)


def save(net: Any, folder: Path, tokenizer: Any = None) -> Path:
    """The network (and a tokenizer, of another folder where it is a path) as a folder."""
    net.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer = (
            tokenizer if hasattr(tokenizer, "save_pretrained") else t.AutoTokenizer.from_pretrained(tokenizer)
        )
        tokenizer.save_pretrained(folder)
    return folder


def bert(folder: Path, kind: str = "BertModel", **more: Any) -> Path:
    """A BERT of this class of a hundred pieces."""
    torch.manual_seed(1)
    return save(getattr(t, kind)(t.BertConfig(**{**BERT, **more})), folder, word_pieces())


def copied(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def change_json(file: Path, **values: Any) -> None:
    """Members of a JSON file; None takes one away."""
    content = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def gpt2(folder: Path, tokenizer: Any = None, **more: Any) -> Path:
    """A GPT-2 of 64 positions."""
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64, "bos_token_id": 2}
    ends = {"eos_token_id": 3, "pad_token_id": 0}
    config = t.GPT2Config(**{"vocab_size": len(VOCABULARY), **sizes, **ends, **more})
    return save(t.GPT2LMHeadModel(config), folder, tokenizer or word_pieces())


def reranker(folder: Path, **more: Any) -> Path:
    """A decoder with a score: a Qwen2 of one label."""
    torch.manual_seed(1)
    sizes = {**SMALL, "num_key_value_heads": 2, "max_position_embeddings": 64, "num_labels": 1}
    config = t.Qwen2Config(**{"vocab_size": len(VOCABULARY), **sizes, **more})
    return save(t.Qwen2ForSequenceClassification(config), folder, word_pieces())


def break_weight(folder: Path, name: str) -> Path:
    """Makes the first number of a tensor NaN."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    return folder
