"""Models whose tokenizer is a SentencePiece file alone, as T5's and older Llamas': the library's text."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
import transformers as t
from running import load, outputs
from tiny_models import SMALL

TEXT = "the whale is white and ada lives in rome by the sea where ships come and go"


@pytest.fixture(scope="module")
def pieces() -> bytes:
    """A SentencePiece model of the letters and some words of the text, with T5's own ids first."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT] * 20),
        model_writer=written,
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=3,
        minloglevel=2,
    )
    return written.getvalue()


def save(folder: Path, net: Any, file: str, pieces: bytes, kind: str) -> Path:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.3)
    net.save_pretrained(folder)
    (folder / file).write_bytes(pieces)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    return folder


def test_a_llama_with_tokenizer_model_alone_writes_the_librarys_text(tmp_path: Path, pieces: bytes) -> None:
    torch.manual_seed(1)
    sizes = {**SMALL, "vocab_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 64}
    net = t.LlamaForCausalLM(t.LlamaConfig(**sizes, bos_token_id=3, eos_token_id=1, pad_token_id=0))
    folder = save(tmp_path / "llama", net, "tokenizer.model", pieces, "LlamaTokenizer")
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    given = tokenizer("the whale is", return_tensors="pt")
    ids = net.eval().generate(**given, max_new_tokens=8, do_sample=False)[0, given["input_ids"].shape[1] :]
    model = load("text-generation", folder)
    [answer] = outputs(model, [{"prompt": "the whale is", "max_new_tokens": 8, "temperature": 0}], tmp_path)
    assert "".join(answer) == tokenizer.decode(ids, skip_special_tokens=True)
