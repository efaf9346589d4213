"""Folders with pickles become folders with safetensors, adapters are merged; no code of theirs is run."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from tiny_models import bert, word_pieces
from typer.testing import CliRunner

from app.cli import app
from app.runtimes.conversion import convert, new_name


def convert_all(folder: Path, output: Path, base: Path | None = None) -> list[str]:
    return list(convert(folder, output, base))


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """A BERT as PyTorch saved it, with what training leaves beside it."""
    folder = bert(tmp_path / "bert")
    net = t.AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(net.state_dict(), folder / "pytorch_model.bin")
    torch.save({"lr": 1}, folder / "training_args.bin")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    return folder


def test_pickled_weights_become_the_same_model(pickled: Path, tmp_path: Path) -> None:
    before = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    said = convert_all(pickled, tmp_path / "new")
    assert "training_args.bin: left out, it is of the training" in said
    names = {file.name for file in (tmp_path / "new").rglob("*") if file.is_file()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert not any(name.endswith(".bin") for name in names)
    after = t.AutoModel.from_pretrained(tmp_path / "new").state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_shards_and_their_index_keep_their_numbers(pickled: Path, tmp_path: Path) -> None:
    tensors = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    (pickled / "pytorch_model.bin").unlink()
    halves = [dict(list(tensors.items())[::2]), {"state_dict": dict(list(tensors.items())[1::2])}]
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        torch.save(half, pickled / name)
    where = {tensor: names[number % 2] for number, tensor in enumerate(tensors)}
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    convert_all(pickled, tmp_path / "new")
    after = t.AutoModel.from_pretrained(tmp_path / "new").state_dict()
    assert all(torch.equal(tensors[name], after[name]) for name in tensors)


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/lovage-was-here",)


def test_a_pickle_that_would_run_code_is_refused_and_nothing_is_left(pickled: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "b": Evil()}, pickled / "pytorch_model.bin")
    said = CliRunner(env={"HF_HUB_OFFLINE": "1"}).invoke(
        app, ["models", "convert", str(pickled), "--output", str(tmp_path / "new")]
    )
    assert said.exit_code == 1
    assert not Path("/tmp/lovage-was-here").exists()
    assert not (tmp_path / "new").exists()
    with pytest.raises(
        ValueError, match=r"pytorch_model.bin holds more than tensors, or is broken, and is not"
    ):
        convert_all(pickled, tmp_path / "new")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    peft = pytest.importorskip("peft")
    base = bert(tmp_path / "base", "BertForSequenceClassification", num_labels=2)
    net = t.AutoModelForSequenceClassification.from_pretrained(base)
    torch.manual_seed(2)
    options = peft.LoraConfig(
        r=2, lora_alpha=64, target_modules=["query", "value"], init_lora_weights=False, task_type="SEQ_CLS"
    )
    peft.get_peft_model(net, options).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # asked by peft
def test_an_adapter_is_merged_into_its_base(adapter: Path, tmp_path: Path) -> None:
    import peft

    base = tmp_path / "base"
    given = word_pieces()("the whale is white", return_tensors="pt")
    plain = t.AutoModelForSequenceClassification.from_pretrained(base).eval()
    net = t.AutoModelForSequenceClassification.from_pretrained(base)
    adapted = peft.PeftModel.from_pretrained(net, str(adapter)).eval()
    convert_all(adapter, tmp_path / "merged", base)
    merged = t.AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    with torch.inference_mode():
        expected, answer, before = (net(**given).logits for net in (adapted, merged, plain))
    assert torch.allclose(answer, expected, atol=1e-5)
    assert not torch.allclose(answer, before, atol=1e-3)
    assert t.AutoTokenizer.from_pretrained(tmp_path / "merged")("whale") == word_pieces()("whale")


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda folder: convert_all(folder, folder), "exists already"),
        (lambda folder: convert_all(folder / "1_Pooling", folder / "x"), "has no PyTorch weights"),
        (lambda folder: convert_all(folder, folder / "x", folder), "nothing to merge"),
    ],
)
def test_what_cannot_be_converted_is_one_sentence(pickled: Path, act: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        act(pickled)


def test_an_adapter_without_its_base_is_asked_for_it(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    with pytest.raises(ValueError, match="is an adapter of org/base: name that model's folder with --base"):
        convert_all(tmp_path / "adapter", tmp_path / "new")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pytorch_model.bin", "model.safetensors"),
        ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"),
        ("pytorch_model.bin.index.json", "model.safetensors.index.json"),
        ("adapter_model.bin", "adapter_model.safetensors"),
        ("best.pt", "best.safetensors"),
    ],
)
def test_files_get_the_names_that_the_libraries_look_for(old: str, new: str) -> None:
    assert new_name(old) == new
