"""The Open Inference Protocol over HTTP: what KServe's and Triton's clients send, as JSON and as bytes."""

import json
from typing import Any

import pytest
from waiting import eventually

from app.domain.tensors import Tensor, decode_raw, encode_raw


@pytest.fixture
def talker(ada, talker_model) -> str:
    return talker_model("oip", chunks=1)


@pytest.fixture
def talker_model(talker_runtime, ada):
    def make(name: str, **defaults: Any) -> str:
        properties = {key: {"default": value} for key, value in defaults.items()}
        ada.model(name, runtime="talker", input_schema={"properties": properties})
        return f"ada/{name}"

    return make


def tensor(name: str, data: list[Any], datatype: str = "BYTES") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}


def binary(body: dict[str, Any], *blobs: bytes) -> dict[str, Any]:
    """The request of the binary extension."""
    head = json.dumps(body).encode()
    return {
        "content": head + b"".join(blobs),
        "headers": {"Inference-Header-Content-Length": str(len(head))},
    }


def test_an_inference_is_a_prediction_and_answers_tensors(ada, worker, talker) -> None:
    body = {"id": "mine", "inputs": [tensor("text", ["hi"])], "parameters": {"max_new_tokens": 3}}
    answer = ada.http.post(f"/v2/models/{talker}/infer", json=body).json()
    assert answer["outputs"] == [{"name": "output", "datatype": "BYTES", "shape": [1], "data": ["hi"]}]
    assert (answer["id"], answer["model_name"]) == ("mine", talker)
    prediction = ada.http.get(f"/v1/predictions/{answer['parameters']['prediction']}").json()
    assert (prediction["input"]["text"], prediction["input"]["max_new_tokens"]) == ("hi", 3)
    assert prediction["version"] == answer["model_version"]
    same = ada.http.post(f"/v2/models/{talker}/versions/{answer['model_version']}/infer", json=body)
    assert same.json()["outputs"] == answer["outputs"]
    assert ada.http.post("/v2/models/oip/infer", json=body).json()["outputs"] == answer["outputs"]


def test_tensors_travel_as_bytes_both_ways(ada, worker, talker_model) -> None:
    model = talker_model("vectors", chunks=0)
    values = encode_raw(Tensor("answer", "FP32", (2, 2), [1.0, 2.0, 3.0, 4.5]))
    shape = {"name": "answer", "datatype": "FP32", "shape": [2, 2]}
    text = encode_raw(Tensor("text", "BYTES", (1,), [""]))
    body = {
        "inputs": [
            {**shape, "parameters": {"binary_data_size": len(values)}},
            {
                "name": "prompt",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"binary_data_size": len(text)},
            },
        ],
        "outputs": [{"name": "output", "parameters": {"binary_data": True}}],
    }
    answer = ada.http.post(f"/v2/models/{model}/infer", **binary(body, values, text))
    assert answer.status_code == 200, answer.text
    size = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:size])["outputs"]
    assert output["shape"] == [2, 2]
    assert output["parameters"]["binary_data_size"] == len(answer.content) - size
    assert decode_raw(output["datatype"], answer.content[size:]) == [1.0, 2.0, 3.0, 4.5]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": [tensor("texts", ["a"])]}, "texts: is not an input of this model"),
        ({"inputs": [tensor("max_new_tokens", [1, 2], "INT64")]}, "max_new_tokens: has the shape [2]"),
        ({"inputs": [tensor("text", ["a"], "FP32")]}, "inputs.0: holds what is no FP32"),
        ({"inputs": [tensor("text", ["a"], "BF16")]}, "inputs.0: has the datatype 'BF16'"),
        ({"inputs": [{**tensor("text", ["a"]), "shape": [2]}]}, "inputs.0: has 1 elements"),
        ({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1]}]}, "inputs.0: needs `data`"),
        ({"inputs": [], "wings": 1}, "wings: additional property"),
        ({"inputs": [], "parameters": {"wings": 1}}, "parameters.wings: is no input"),
        ({"inputs": [], "parameters": {"sequence_id": 5}}, "parameters.sequence_id: is not supported"),
        ({"inputs": [tensor("text", ["a"])], "outputs": [{"name": "z"}]}, "z: is not an output"),
    ],
)
def test_what_cannot_be_inferred_is_refused_by_name(ada, worker, talker, change, words) -> None:
    answer = ada.http.post(f"/v2/models/{talker}/infer", json=change)
    assert (answer.status_code, set(answer.json())) == (400, {"error"})
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("size", "blob", "words"),
    [
        (9, b"abc", "inputs.0: must have a binary_data_size of at most the 3 bytes"),
        (2, b"\x00\x00\x00\x00", "inputs.0: ends amid the length of an element"),
        (5, b"\x01\x00\x00\x00\x00", "inputs.0: holds the NUL character"),
        (5, b"\x01\x00\x00\x00a-and-more", "inputs: leave 9 bytes"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(ada, talker, size, blob, words) -> None:
    parameters = {"binary_data_size": size}
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": parameters}]}
    answer = ada.http.post(f"/v2/models/{talker}/infer", **binary(body, blob))
    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text
    wrong = {"Inference-Header-Content-Length": "999999"}
    answer = ada.http.post(f"/v2/models/{talker}/infer", json=body, headers=wrong)
    assert (answer.status_code, "must be at most" in answer.json()["error"]) == (400, True)


def test_a_failed_run_and_a_missing_model_are_errors_of_the_protocol(
    ada, anonymous, worker, talker_model
) -> None:
    model = talker_model("failing", fail=True)
    failed = ada.http.post(f"/v2/models/{model}/infer", json={"inputs": [tensor("text", ["a"])]})
    assert (failed.status_code, failed.json()) == (500, {"error": "It was asked to fail."})
    missing = ada.http.post("/v2/models/ada/none/infer", json={"inputs": []})
    assert (missing.status_code, set(missing.json())) == (404, {"error"})
    stranger = anonymous.post(f"/v2/models/{model}/infer", json={"inputs": []})
    assert (stranger.status_code, set(stranger.json())) == (401, {"error"})


def test_generate_answers_a_text_whole_or_in_pieces(ada, worker, talker_model) -> None:
    model = talker_model("words", chunks=3)
    body = {"text_input": "la", "parameters": {"max_new_tokens": 5}}
    whole = ada.http.post(f"/v2/models/{model}/generate", json=body).json()
    assert (whole["text_output"], whole["model_name"]) == ("lalala", model)
    stream = ada.http.post(f"/v2/models/{model}/generate_stream", json=body)
    assert stream.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: ")]
    assert [event["text_output"] for event in events] == ["la"] * 3
    refused = ada.http.post(f"/v2/models/{model}/generate", json={**body, "wings": 2})
    assert (refused.status_code, "wings" in refused.json()["error"]) == (400, True)


def test_health_and_metadata_say_what_is_served(ada, anonymous, worker, talker) -> None:
    assert anonymous.get("/v2/health/live").json() == {"live": True}
    assert anonymous.get("/v2/health/ready").json() == {"ready": True}
    assert "binary_tensor_data" in ada.http.get("/v2").json()["extensions"]
    ready = {"name": talker, "ready": True}
    eventually(lambda: ada.http.get(f"/v2/models/{talker}/ready").json() == ready)
    metadata = ada.http.get(f"/v2/models/{talker}").json()
    inputs = {each["name"]: (each["datatype"], each["shape"]) for each in metadata["inputs"]}
    assert (inputs["prompt"], inputs["max_new_tokens"]) == (("BYTES", [1]), ("INT64", [1]))
    assert metadata["outputs"] == [{"name": "output", "datatype": "BYTES", "shape": [1]}]
    (version,) = metadata["versions"]
    assert ada.http.get(f"/v2/models/{talker}/versions/{version}").json() == metadata
    assert ada.http.get(f"/v2/models/{talker}/versions/3").status_code == 404


def test_models_are_listed_loaded_and_unloaded(ada, make_person, worker, talker) -> None:
    wanted = {"name": talker, "state": "UNAVAILABLE", "reason": "unloaded"}
    index = "/v2/repository/index"
    eventually(lambda: [each for each in ada.http.post(index).json() if wanted.items() <= each.items()])
    assert ada.http.post("/v2/repository/index", json={"ready": True}).json() == []
    for verb in ("load", "unload"):
        address = f"/v2/repository/models/{talker}/{verb}"
        assert ada.http.post(address, json={"parameters": {"unload_dependents": False}}).status_code == 200
        refused = ada.http.post(address, json={"parameters": {"config": "{}"}})
        assert (refused.status_code, "parameters.config" in refused.json()["error"]) == (400, True)
        assert make_person().http.post(address).status_code == 404, "somebody else's"
    assert ada.http.post("/v2/rerank", json={"query": "q"}).json()["message"], "another protocol's address"
