"""What is said of a model's files when they are registered, before anybody waits for a load."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from model_folders import safetensors, write_model

from app.domain.errors import InvalidRequest
from app.services.catalogue.model_checks import list_problems
from app.services.catalogue.model_kind import kind_of, misfit
from app.services.catalogue.sources import SourceReader
from app.services.catalogue.version_maker import check_files

GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
BERT = {"architectures": ["BertModel"], "model_type": "bert"}
Change = Callable[[Path], Any]


def problems_of(folder: Path, runtime: str = "text-generation", task: str = "") -> list[str]:
    files = SourceReader([folder.parent]).inspect(f"path:{folder}").files
    assert files is not None
    return list_problems(files, runtime, task)


def write(name: str, content: str | bytes | dict[str, Any]) -> Change:
    text = json.dumps(content) if isinstance(content, dict) else content
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123456\n"
SHARDS = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
QUANTISED = {**GPT2, "quantization_config": {"quant_method": "gptq", "bits": 4}}
ROWS: list[tuple[str, list[Change], str]] = [
    (
        "a pointer",
        [write("model.safetensors", POINTER)],
        "is a Git LFS pointer and not the file itself: run `git lfs",
    ),
    (
        "a pointer of the tokenizer",
        [write("tokenizer.json", POINTER)],
        "has tokenizer.json, which is a Git LFS pointer",
    ),
    ("nothing", [write("model.safetensors", b"")], "has model.safetensors, which is empty"),
    ("a cut file", [write("model.safetensors", safetensors("a", "b")[:-4])], "which is cut off: it has"),
    ("another format", [write("model.safetensors", b"x" * 99)], "which is not in the format of safetensors"),
    (
        "a missing shard",
        [
            remove("model.safetensors"),
            write("model-00001-of-00002.safetensors", safetensors("a")),
            write("model.safetensors.index.json", SHARDS),
        ],
        "lacks model-00002-of-00002.safetensors, which model.safetensors.index.json names",
    ),
    (
        "an adapter",
        [remove("config.json"), write("adapter_config.json", {"base_model_name_or_path": "org/base"})],
        "is an adapter of org/base, which is neither under the model roots nor on the hub: say where it is",
    ),
    ("GPTQ", [write("config.json", QUANTISED)], "has weights quantised by gptq, which no runtime here runs"),
    ("MLX", [write("config.json", {**GPT2, "quantization": {"bits": 4}})], "quantised by MLX"),
    (
        "an adapter beside its base's configuration",
        [
            write("adapter_config.json", {"base_model_name_or_path": "org/base"}),
            lambda folder: (folder / "model.safetensors").rename(folder / "adapter_model.safetensors"),
        ],
        "is an adapter of org/base, which is neither under the model roots nor on the hub: say where it is",
    ),
    (
        "bitsandbytes of old",
        [write("config.json", {**GPT2, "quantization_config": {"load_in_4bit": True}})],
        "quantised by bitsandbytes",
    ),
    (
        "a quantised text part",
        [write("config.json", {**GPT2, "text_config": {"quantization_config": {"quant_method": "awq"}}})],
        "quantised by awq",
    ),
    (
        "packed weights",
        [write("model.safetensors", safetensors("h.0.attn.qweight", "h.0.attn.qzeros"))],
        "quantised by GPTQ or AWQ",
    ),
    (
        "a broken download",
        [
            remove("model.safetensors"),
            lambda folder: (folder / "model.safetensors").symlink_to("../blobs/c0ffee"),
        ],
        "has model.safetensors, which is a link to a file that is not there: fetch it again",
    ),
    ("no JSON", [write("config.json", "{ 1")], "has config.json, which is not JSON, or is cut off"),
    ("an empty tokenizer", [write("tokenizer.json", b"")], "has tokenizer.json, which is empty"),
    ("no configuration", [remove("config.json")], "has no config.json, which says what kind of model it is"),
    (
        "a name of its own",
        [lambda folder: (folder / "model.safetensors").rename(folder / "best.safetensors")],
        "has its weights in best.safetensors, where nothing looks for them: name the file model.safetensors",
    ),
    (
        "a part without its index",
        [lambda folder: (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")],
        "or fetch the index of its parts (model.safetensors.index.json), too",
    ),
    ("no tokenizer", [remove("tokenizer.json"), write("tokenizer_config.json", {})], "has no tokenizer"),
    (
        "GGUF",
        [remove("model.safetensors"), write("m.gguf", b"GGUF")],
        "has weights in GGUF, llama.cpp's format: a managed backend serves it",
    ),
    (
        "ONNX",
        [remove("model.safetensors"), write("model.onnx", b"x")],
        "has weights in ONNX, which the runtimes onnx, emb",
    ),
    (
        "CTranslate2",
        [remove("model.safetensors"), write("model.bin", b"x"), write("vocabulary.json", "[]")],
        "CTranslate2's format",
    ),
    (
        "spaCy",
        [
            remove("model.safetensors"),
            write("config.cfg", ""),
            write("meta.json", {"lang": "en", "pipeline": []}),
        ],
        "is a spaCy pipeline",
    ),
    (
        "OpenVINO",
        [remove("model.safetensors"), write("model.xml", "<net/>"), write("model.bin", b"x")],
        "has weights in OpenVINO's format: a `python` folder would run it",
    ),
    (
        "an object of scikit-learn",
        [remove("model.safetensors"), write("model.joblib", b"x")],
        "has weights in a pickled Python object, as scikit-learn's are: a `python` folder would run it",
    ),
    (
        "several old formats",
        [remove("model.safetensors"), *(write(name, b"x") for name in ("tf_model.h5", "pytorch_model.bin"))],
        "convert them (lovage models convert FOLDER",
    ),
    (
        "what nobody knows",
        [remove("model.safetensors"), write("weights.xyz", b"x")],
        "has no weights in safetensors, and none in another format that is known",
    ),
    (
        "a pickle",
        [remove("model.safetensors"), write("pytorch_model.bin", b"x")],
        "has pickled weights, which may run code",
    ),
]


@pytest.mark.parametrize(("changes", "words"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_is_wrong_with_the_files_is_said_at_once(
    tmp_path: Path, changes: list[Change], words: str
) -> None:
    folder = write_model(tmp_path / "m", GPT2)
    assert problems_of(folder) == []
    for change in changes:
        change(folder)
    [problem] = problems_of(folder)
    assert words in problem


@pytest.mark.parametrize(
    ("task", "missing", "words"),
    [
        ("zero-shot-image-classification", "tokenizer.json", "has no tokenizer"),
        ("automatic-speech-recognition", "tokenizer.json", "has no tokenizer"),
        (
            "automatic-speech-recognition",
            "preprocessor_config.json",
            "has no preprocessor_config.json, which says how sound is made ready",
        ),
        ("image-classification", "preprocessor_config.json", "which says how pictures are made ready"),
    ],
)
def test_a_task_has_what_makes_its_inputs_ready(tmp_path: Path, task: str, missing: str, words: str) -> None:
    folder = write_model(tmp_path / "m", {"architectures": ["Strange"]})
    write("preprocessor_config.json", {})(folder)
    assert problems_of(folder, "pipeline", task) == []
    remove(missing)(folder)
    [problem] = problems_of(folder, "pipeline", task)
    assert words in problem


def test_a_module_whose_weights_are_pickled_or_missing_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", BERT)
    listed = [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling"}, {"type": "a.Dense", "path": "2"}]
    write("modules.json", json.dumps(listed))(folder)
    assert "lacks 2/model.safetensors, the weights of its Dense module" in problems_of(folder, "embedding")[0]
    (folder / "2").mkdir()
    write("2/pytorch_model.bin", b"x")(folder)
    assert "has pickled weights in 2/pytorch_model.bin" in problems_of(folder, "embedding")[0]
    write("2/model.safetensors", safetensors("linear.weight"))(folder)
    assert problems_of(folder, "embedding") == []


def test_a_quantised_part_of_a_pipeline_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    write("model_index.json", {"_class_name": "FluxPipeline"})(folder)
    assert problems_of(folder, "image-generation") == []
    (folder / "transformer").mkdir()
    write("transformer/config.json", {"quantization_config": {"quant_method": "gguf"}})(folder)
    assert "quantised by gguf" in problems_of(folder, "image-generation")[0]


@pytest.mark.parametrize(
    ("config", "tag", "kind"),
    [
        ({"architectures": ["T5ForConditionalGeneration"]}, "", ("pipeline", "text2text-generation")),
        ({"architectures": ["BartForConditionalGeneration"]}, "summarization", ("pipeline", "summarization")),
        ({"architectures": ["MarianMTModel"]}, "", ("pipeline", "translation")),
        ({"architectures": ["M2M100ForConditionalGeneration"]}, "", ("pipeline", "translation")),
        (
            {"architectures": ["CLIPModel"], "vision_config": {}},
            "",
            ("pipeline", "zero-shot-image-classification"),
        ),
        ({"architectures": ["VitsModel"]}, "", ("pipeline", "text-to-audio")),
        ({"architectures": ["ViTModel"], "image_size": 224}, "", None),
        ({"architectures": ["Wav2Vec2Model"], "conv_dim": [32]}, "", None),
        (BERT, "", ("embedding", "")),
    ],
)
def test_a_class_tells_its_task(
    tmp_path: Path, config: dict[str, Any], tag: str, kind: tuple[str, str] | None
) -> None:
    files = SourceReader([tmp_path]).inspect(f"path:{write_model(tmp_path / 'm', config)}").files
    assert files is not None
    assert kind_of(replace(files, tag=tag)) == kind


def test_everything_is_said_in_the_order_of_mending(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", QUANTISED)
    write("model.safetensors", POINTER)(folder)
    files = SourceReader([tmp_path]).inspect(f"path:{folder}").files
    assert files is not None
    with pytest.raises(InvalidRequest) as refused:
        check_files(files, "text-generation", "")
    assert ["LFS" in refused.value.fields[0].description, "gptq" in refused.value.fields[1].description] == [
        True,
        True,
    ]


def test_a_head_that_is_missing_and_a_module_that_is_not_known_are_refused(tmp_path: Path) -> None:
    config = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "x"}}
    body = ("embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.weight", "pooler.dense.bias")
    folder = write_model(tmp_path / "m", config, *body)
    assert "lacks the weights of its head" in problems_of(folder, "pair-scoring")[0]
    whole = ("bert.embeddings.weight", "classifier.weight")
    assert problems_of(write_model(tmp_path / "n", config, *whole), "pair-scoring") == []
    write("modules.json", '[{"type": "a.Transformer"}, {"type": "a.WordWeights"}]')(folder)
    assert "has a WordWeights module" in problems_of(folder, "embedding")[0]


@pytest.mark.parametrize(
    ("config", "runtime", "words"),
    [
        (BERT, "text-generation", "those of a BertModel, which the runtime 'embedding' runs"),
        (
            BERT,
            "image-generation",
            "those of a BertModel, not of a diffusers pipeline, which the runtime 'embedding'",
        ),
        (GPT2, "pair-scoring", "those of a GPT2LMHeadModel, which the runtime 'text-generation' runs"),
        (
            {"architectures": ["BertForTokenClassification"]},
            "text-generation",
            "which the runtime 'pipeline' runs with the task 'token-classification'",
        ),
        (BERT, "embedding", ""),
        ({"architectures": ["GPT2Model"]}, "text-generation", ""),
        ({"architectures": ["XForSequenceClassification"]}, "pair-scoring", ""),
        ({"architectures": ["Strange"]}, "text-generation", ""),
    ],
)
def test_the_wrong_runtime_is_refused_with_the_name_of_the_right_one(
    tmp_path: Path, config: dict[str, Any], runtime: str, words: str
) -> None:
    folder = write_model(tmp_path / "m", config)
    files = SourceReader([tmp_path]).inspect(f"path:{folder}").files
    assert files is not None
    sentence = misfit(files, runtime, "")
    assert words in sentence
    assert bool(words) == bool(sentence)


def test_the_hubs_own_cache_is_a_folder_of_links(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--org--m"
    snapshot = repository / "snapshots" / "c0ffee"
    write_model(repository / "blobs", GPT2)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c0ffee")
    reader = SourceReader([tmp_path / "hub"])
    for source in (f"path:{snapshot}", "path:models--org--m"):
        inspected = reader.inspect(source)
        assert inspected.source.location == str(snapshot)
        assert inspected.files is not None
        assert kind_of(inspected.files) == ("text-generation", "")
        assert list_problems(inspected.files, "text-generation", "") == []
    (tmp_path / "secret").write_text("x")
    (snapshot / "chat_template.jinja").symlink_to(tmp_path / "secret")
    files = reader.inspect(f"path:{snapshot}").files
    assert files is not None
    [problem] = list_problems(files, "text-generation", "")
    assert problem == "has chat_template.jinja, which leads out of the model roots: put the file itself there"
