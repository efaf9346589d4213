"""A version is looked at before it is registered: the same facts and the same refusals, and nothing is
stored."""

import json

import pytest
from model_folders import write_model

GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}


@pytest.fixture
def folder(api_settings):
    return write_model(api_settings.model_root_folders[1] / "checked", GPT2, "wte.weight", "wpe.weight")


def check(person, **asked):
    answer = person.http.post("/v1/models/check", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_would_be_registered_is_shown_and_not_stored(ada, folder):
    found = check(ada, source="path:checked", model="ada/gpt")
    assert (found["runtime"], found["problems"], found["current_version"]) == ("text-generation", [], None)
    assert (found["dtype"], found["parameters"], found["memory_bytes"], found["files"]) == ("F32", 2, 8, 3)
    assert found["bytes"] == sum(file.stat().st_size for file in folder.iterdir())
    assert check(ada, source="path:checked", config={"dtype": "bfloat16"})["memory_bytes"] == 4
    assert ada.http.get("/v1/models/ada/gpt").status_code == 404


def test_everything_that_registering_refuses_is_a_problem_of_the_check(ada, folder):
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    asked = {"source": "path:checked", "config": {"dtype": "float32", "no": 1}}
    found = check(ada, **asked)
    refused = ada.http.post("/v1/models", json={"name": "gpt", "version": asked})
    assert refused.status_code == 422
    sentences = [problem["description"] for problem in found["problems"]]
    assert any("Git LFS pointer" in sentence for sentence in sentences)
    assert any("is empty" in sentence for sentence in sentences)
    assert found["problems"][0]["field"] == "config.no"
    assert found["problems"][0]["description"] in refused.json()["detail"]


def test_files_that_do_not_tell_how_they_are_run_are_reported_without_a_runtime(ada, folder):
    (folder / "config.json").write_text(json.dumps({"architectures": ["Strange"]}))
    found = check(ada, source="path:checked")
    assert found["runtime"] == ""
    sentence = found["problems"][0]["description"]
    assert sentence.startswith(
        "cannot be inferred: the files are those of a Strange, which no runtime is known"
    )
    assert "; give one of: echo," in sentence


def test_what_stands_under_the_name_is_shown_to_its_owner(ada, bob, folder):
    current = ada.model("gpt")["latest_version"]["id"]
    found = check(ada, source="path:checked", model="ada/gpt")
    assert (found["current_version"], found["current_runtime"]) == (current, "echo")
    assert check(bob, source="path:checked", model="ada/gpt")["current_version"] is None  # it is private


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"source": "path:nowhere"}, "source"),
        ({"source": "none", "model": "gpt"}, "model"),
        ({"source": "none", "surprise": 1}, "surprise"),
    ],
)
def test_what_cannot_be_looked_into_is_refused_by_name(ada, asked, names):
    answer = ada.http.post("/v1/models/check", json=asked)
    assert (answer.status_code, names in answer.json()["detail"]) == (422, True)
