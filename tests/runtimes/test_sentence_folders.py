"""Folders of sentence-transformers, old and new, with every module: the vectors are that library's own."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from running import jobs, load, outputs
from tiny_models import VOCABULARY, bert, change_json, copied, save, word_pieces
from transformers import T5Config, T5EncoderModel

from app.runtimes.encoders import sentence_folder


def library() -> Any:
    """Imported when it is compared with: that takes seconds, in every process that collects tests."""
    import sentence_transformers

    return sentence_transformers


def parts() -> Any:
    from sentence_transformers.sentence_transformer import modules

    return modules


TEXTS = ["The whale is white.", "x", "", "A rather longer text about nothing, with some commas, too. " * 9]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("encoder"))


def assert_equal_to_the_library(folder: Path, tmp_path: Path, texts: Any = TEXTS, **inputs: Any) -> None:
    expected = library().SentenceTransformer(str(folder), device="cpu").encode(texts, **inputs)
    [ours] = outputs(load("embedding", folder), [{"text": texts, **inputs}], tmp_path / "out")
    numpy.testing.assert_allclose(ours, expected, atol=1e-5)


def made_of(encoder: Path, folder: Path, *behind: Any, **prompts: Any) -> Path:
    """A folder that the library wrote: the encoder, and these modules behind it."""
    model = library().SentenceTransformer(
        modules=[parts().Transformer(str(encoder)), *behind], device="cpu", **prompts
    )
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.mark.parametrize(
    ("pooling", "normalize"), [(pooling, pooling in ("mean", "cls")) for pooling in sentence_folder.POOLINGS]
)
def test_poolings_and_lengths_are_those_of_the_library(
    encoder: Path, tmp_path: Path, pooling: str, normalize: bool
) -> None:
    theirs = "mean_sqrt_len_tokens" if pooling == "mean_sqrt_len" else pooling
    behind = [parts().Pooling(32, theirs), *([parts().Normalize()] if normalize else [])]
    assert_equal_to_the_library(made_of(encoder, tmp_path / "m", *behind), tmp_path)


def test_several_poolings_stand_side_by_side(encoder: Path, tmp_path: Path) -> None:
    folder = made_of(encoder, tmp_path / "m", parts().Pooling(32, ("mean", "cls", "max")))
    assert_equal_to_the_library(folder, tmp_path)


@pytest.mark.parametrize(
    "dense",
    [
        {"out_features": 8},
        {"out_features": 8, "bias": False, "activation_function": torch.nn.Identity()},
        {"out_features": 32, "use_residual": True, "activation_function": torch.nn.GELU()},
        {"out_features": 16, "use_residual": True},
    ],
)
def test_dense_layers_are_applied(encoder: Path, tmp_path: Path, dense: dict[str, Any]) -> None:
    torch.manual_seed(2)
    layers = [parts().Dense(32, **dense), parts().LayerNorm(dense["out_features"]), parts().Dropout()]
    folder = made_of(encoder, tmp_path / "m", parts().Pooling(32), *layers, parts().Normalize())
    assert_equal_to_the_library(folder, tmp_path)


def test_static_embeddings_are_the_mean_of_their_vectors(encoder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    torch.manual_seed(2)
    static = parts().StaticEmbedding(Tokenizer.from_file(str(encoder / "tokenizer.json")), embedding_dim=16)
    folder = tmp_path / "m"
    library().SentenceTransformer(modules=[static, parts().Normalize()], device="cpu").save(
        str(folder), create_model_card=False
    )
    assert_equal_to_the_library(folder, tmp_path)


def test_a_model2vec_folder_is_one(encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((encoder / "tokenizer.json").read_bytes())
    vectors = torch.randn(100, 8, generator=torch.Generator().manual_seed(1))
    mapping = torch.arange(len(VOCABULARY)) % 100
    shares = torch.rand(len(VOCABULARY), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    save_file({"embeddings": vectors, "mapping": mapping, "weights": shares}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "model2vec", "architectures": ["StaticModel"]}')
    kinds = ("StaticEmbedding", "Normalize")
    listed = [
        {
            "idx": n,
            "name": str(n),
            "path": "." if n == 0 else f"{n}_{kind}",
            "type": f"sentence_transformers.models.{kind}",
        }
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    assert_equal_to_the_library(folder, tmp_path)


def test_the_old_layout_has_its_encoder_in_a_folder(encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    copied(encoder, folder / "0_Transformer")
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text(
        '{"max_seq_length": 20, "do_lower_case": true}'
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(
            {
                "word_embedding_dimension": 32,
                "pooling_mode_cls_token": False,
                "pooling_mode_mean_tokens": True,
                "pooling_mode_max_tokens": True,
                "pooling_mode_mean_sqrt_len_tokens": False,
            }
        )
    )
    kinds = ("Transformer", "Pooling")
    listed = [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}", "type": f"sentence_transformers.models.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    assert_equal_to_the_library(folder, tmp_path, ["The WHALE is white. " * 20, "CASE"])


def test_a_plain_encoder_has_the_mean_as_its_vector(encoder: Path, tmp_path: Path) -> None:
    assert_equal_to_the_library(encoder, tmp_path)


def test_vectors_are_cut_where_the_folder_says(encoder: Path, tmp_path: Path) -> None:
    folder = made_of(encoder, tmp_path / "m", parts().Pooling(32))
    change_json(folder / "config_sentence_transformers.json", truncate_dim=12)
    assert_equal_to_the_library(folder, tmp_path)


PROMPTS = {"query": "Find what answers this: ", "document": ""}


@pytest.mark.parametrize(("include_prompt", "default"), [(True, "query"), (False, "query"), (False, None)])
def test_prompts_are_put_before_texts_and_pooled_as_the_folder_says(
    encoder: Path, tmp_path: Path, include_prompt: bool, default: str | None
) -> None:
    pooling = parts().Pooling(32, ("mean", "cls", "weightedmean"), include_prompt=include_prompt)
    folder = made_of(encoder, tmp_path / "m", pooling, prompts=PROMPTS, default_prompt_name=default)
    theirs, ours = library().SentenceTransformer(str(folder), device="cpu"), load("embedding", folder)
    inputs = [{}, {"prompt_name": "query"}, {"prompt_name": "document"}, {"prompt": "instead of it "}]
    vectors = outputs(ours, [{"text": TEXTS[:2], **each} for each in inputs], tmp_path / "out")
    for each, found in zip(inputs, vectors, strict=True):
        numpy.testing.assert_allclose(found, theirs.encode(TEXTS[:2], **each), atol=1e-5, err_msg=str(each))


def test_a_prompt_that_is_not_there_is_refused_by_name(encoder: Path, tmp_path: Path) -> None:
    folder = made_of(encoder, tmp_path / "m", parts().Pooling(32), prompts=PROMPTS)
    with pytest.raises(
        ValueError, match="prompt_name: the model has no prompt 'poem'; it has: document, query"
    ):
        jobs(load("embedding", folder), [{"text": "x", "prompt_name": "poem"}], tmp_path)


@pytest.mark.parametrize(
    ("kinds", "pooling", "words"),
    [
        (("Transformer", "Pooling", "LSTM"), {}, "has a LSTM module"),
        (("Transformer", "Dense", "Pooling"), {}, "in an order that is not known"),
        (("Transformer", "Pooling"), {"pooling_mode": "wishful"}, "wishful"),
    ],
)
def test_what_would_be_embedded_wrongly_is_refused(
    tmp_path: Path, kinds: tuple[str, ...], pooling: dict[str, Any], words: str
) -> None:
    listed = [
        {"type": f"sentence_transformers.models.{kind}", "path": f"{n}_{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(ValueError, match=words):
        sentence_folder.read(tmp_path)


def test_the_encoder_of_a_t5_is_embedded_without_its_decoder(tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = T5Config(vocab_size=len(VOCABULARY), d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    assert_equal_to_the_library(save(T5EncoderModel(config), tmp_path / "t5", word_pieces()), tmp_path)
