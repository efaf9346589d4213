"""Translations from and to the languages that a model knows, each in its family's way."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from running import jobs, load, outputs
from tiny_models import save, word_pieces

SIZES: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "init_std": 0.6,
}
TEXT = "the whale is white"


@pytest.fixture(scope="module")
def nllb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator of three languages, with the tokenizer of NLLB."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary |= {letter: number for number, letter in enumerate(letters, 4)}
    codes = ["eng_Latn", "deu_Latn", "fra_Latn"]
    tokenizer = t.NllbTokenizer(
        vocab=vocabulary, merges=[], additional_special_tokens=codes, src_lang="eng_Latn"
    )
    torch.manual_seed(1)
    config = t.M2M100Config(
        **SIZES,
        vocab_size=len(tokenizer),
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    return save(t.M2M100ForConditionalGeneration(config), tmp_path_factory.mktemp("nllb"), tokenizer)


def librarys(folder: Path, source: str, target: str) -> str:
    """As the library's own examples have it."""
    tokenizer = t.AutoTokenizer.from_pretrained(folder, src_lang=source)
    net = t.AutoModelForSeq2SeqLM.from_pretrained(folder)
    given = tokenizer(TEXT, return_tensors="pt")
    first = tokenizer.convert_tokens_to_ids(target)
    ids = net.generate(**given, forced_bos_token_id=first, max_new_tokens=12, do_sample=False)
    return str(tokenizer.decode(ids[0], skip_special_tokens=True))


def test_a_text_is_translated_from_and_to_the_languages_that_are_named(
    nllb_folder: Path, tmp_path: Path
) -> None:
    model = load("pipeline", nllb_folder, task="translation")
    common = {"text": TEXT, "max_new_tokens": 12}
    pairs = [("eng_Latn", "deu_Latn"), ("fra_Latn", "deu_Latn"), ("", "fra_Latn")]
    for source, target in pairs:
        given = {**common, "source_language": source or None, "target_language": target}
        [answer] = outputs(model, [given], tmp_path)
        assert answer == {"translation_text": librarys(nllb_folder, source or "eng_Latn", target)}
    assert len({librarys(nllb_folder, source or "eng_Latn", target) for source, target in pairs}) > 1


def test_languages_that_the_model_does_not_know_are_refused(nllb_folder: Path, tmp_path: Path) -> None:
    model = load("pipeline", nllb_folder, task="translation")
    with pytest.raises(ValueError, match="target_language: 'de' is none of the model's: deu_Latn, eng_Latn"):
        jobs(model, [{"text": TEXT, "target_language": "de"}], tmp_path)
    with pytest.raises(ValueError, match="target_language: is needed beside source_language"):
        jobs(model, [{"text": TEXT, "source_language": "eng_Latn"}], tmp_path)


@pytest.fixture(scope="module")
def t5_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    tokenizer = word_pieces()
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 1, "num_heads": 2}
    config = t.T5Config(
        **sizes, vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=3, decoder_start_token_id=0
    )
    folder = save(t.T5ForConditionalGeneration(config), tmp_path_factory.mktemp("t5"), tokenizer)
    content = json.loads((folder / "config.json").read_text())
    content["task_specific_params"] = {
        "summarization": {"prefix": "hello : "},
        "translation_en_to_de": {"prefix": "lovage plant : "},
        "translation_en_to_fr": {"prefix": "rome : "},
    }
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("task", "languages", "prefix"),
    [
        ("summarization", {}, "hello : "),
        ("translation", {"source_language": "en", "target_language": "de"}, "lovage plant : "),
        ("translation", {"source_language": "en", "target_language": "fr"}, "rome : "),
        ("translation", {}, ""),
        ("text2text-generation", {}, ""),
    ],
)
def test_the_prefix_that_the_configuration_names_is_put_before_a_text(
    t5_folder: Path, tmp_path: Path, task: str, languages: dict[str, str], prefix: str
) -> None:
    net, tokenizer = t.T5ForConditionalGeneration.from_pretrained(t5_folder), word_pieces()
    given = tokenizer(prefix + TEXT, return_tensors="pt", return_token_type_ids=False)
    ids = net.generate(**given, max_new_tokens=8, do_sample=False)
    expected = tokenizer.decode(ids[0], skip_special_tokens=True)
    model = load("pipeline", t5_folder, task=task)
    for text in dict.fromkeys((TEXT, prefix + TEXT)):
        [answer] = outputs(model, [{"text": text, "max_new_tokens": 8, **languages}], tmp_path)
        assert list(answer.values()) == [expected]


def test_a_pair_that_t5_was_not_trained_for_is_refused(t5_folder: Path, tmp_path: Path) -> None:
    model = load("pipeline", t5_folder, task="translation")
    with pytest.raises(ValueError, match="'de_to_en' is none of the model's: en_to_de, en_to_fr"):
        jobs(model, [{"text": TEXT, "source_language": "de", "target_language": "en"}], tmp_path)
