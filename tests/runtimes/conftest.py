"""Loaded demo models and tiny random ones, once for all tests of this folder."""

from pathlib import Path

import pytest
import torch
from running import load

from app.runtimes.base import Runtime
from app.runtimes.demo import SHIPPED, demo_minilm_folder

torch.set_num_threads(1)  # two on two busy cores were measured five times slower


@pytest.fixture(scope="session")
def words() -> Runtime:
    return load("text-generation", SHIPPED / "words")


@pytest.fixture(scope="session")
def digits() -> Runtime:
    return load("image-generation", SHIPPED / "digits", config={"default_steps": 4, "default_guidance": 3.0})


@pytest.fixture(scope="session")
def minilm() -> Runtime:
    return load("embedding", demo_minilm_folder() or "")


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory) -> Path:
    """A tiny random BERT with one logit over MiniLM's own tokenizer, saved as safetensors."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = tmp_path_factory.mktemp("tiny-bert")
    tokenizer = AutoTokenizer.from_pretrained(demo_minilm_folder())
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)
