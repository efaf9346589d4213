"""Models and versions over HTTP."""

import json

import pytest
from model_folders import write_model
from packaging.version import Version


def test_a_model_and_its_first_version_are_made_in_one_call(ada):
    made = ada.model("echo", visibility="public")
    assert (made["owner"], made["name"], made["visibility"], made["run_count"]) == (
        "ada",
        "echo",
        "public",
        0,
    )
    version = made["latest_version"]
    assert len(version["id"]) == 64
    assert Version(version["cog_version"]) >= Version("0.3.9")
    inputs = version["openapi_schema"]["components"]["schemas"]["Input"]["properties"]
    assert inputs["text"]["type"] == "string"
    assert [one["x-order"] for one in inputs.values()] == sorted(one["x-order"] for one in inputs.values())
    assert "Output" in version["openapi_schema"]["components"]["schemas"]
    assert ada.http.get("/v1/models/ada/echo").json()["latest_version"] == version


def test_a_refused_version_leaves_no_model_behind(ada):
    answer = ada.http.post("/v1/models", json={"name": "bad", "version": {"runtime": "nonsense"}})
    assert answer.status_code == 422
    assert "echo" in answer.json()["detail"]
    assert ada.http.get("/v1/models/ada/bad").status_code == 404


def test_the_same_content_is_the_same_version(ada):
    first = ada.model("echo")["latest_version"]["id"]
    again = ada.http.post("/v1/models/ada/echo/versions", json={"runtime": "echo"})
    other = ada.http.post("/v1/models/ada/echo/versions", json={"runtime": "echo", "config": {"rows": 2}})
    assert (again.status_code, again.json()["id"]) == (201, first)
    assert other.json()["id"] != first
    assert ada.http.get("/v1/models/ada/echo").json()["latest_version"]["id"] == other.json()["id"]
    listed = ada.http.get("/v1/models/ada/echo/versions").json()["results"]
    assert [one["id"] for one in listed] == [other.json()["id"], first]


def test_a_deleted_version_runs_no_more(ada):
    version = ada.model("echo")["latest_version"]["id"]
    address = f"/v1/models/ada/echo/versions/{version}"
    assert ada.http.get(address).status_code == 200
    assert ada.http.delete(address).status_code == 204
    assert ada.http.get(address).status_code == 404
    assert ada.http.post("/v1/predictions", json={"version": version, "input": {}}).status_code == 404
    no_version = ada.http.post("/v1/models/ada/echo/predictions", json={"input": {}})
    assert (no_version.status_code, "no versions" in no_version.json()["detail"]) == (404, True)


def test_inputs_can_be_overridden_within_the_runtimes_own(ada):
    schema = {
        "properties": {"text": {"default": "hey", "maxLength": 5, "enum": ["hey", "ho"]}},
        "required": ["seconds"],
    }
    version = ada.model("echo", input_schema=schema)["latest_version"]
    schemas = version["openapi_schema"]["components"]["schemas"]
    assert schemas["Input"]["properties"]["text"]["allOf"] == [{"$ref": "#/components/schemas/text"}]
    assert schemas["text"]["enum"] == ["hey", "ho"]
    refused = ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {"text": "no"}})
    assert "input.seconds" in refused.text
    assert "input.text" in refused.text
    assert ada.run("ada/echo", seconds=0)["input"]["text"] == "hey"


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ({"input_schema": {"properties": {"other": {}}}}, "input_schema.properties.other"),
        ({"input_schema": {"properties": {"text": {"pattern": "(a+)+$"}}}}, "pattern"),
        ({"input_schema": {"properties": {"text": {"type": "integer"}}}}, "type"),
        ({"input_schema": {"properties": {"chunks": {"default": "many"}}}}, "chunks.default"),
        ({"input_schema": {"properties": {"chunks": {"minimum": "x"}}}}, "input_schema"),
        ({"input_schema": {"$ref": "http://127.0.0.1/"}}, "input_schema"),
        ({"config": {"trust_remote_code": True}}, "config.trust_remote_code"),
        ({"config": {"max_batch_size": -1}}, "config.max_batch_size"),
        ({"task": "flying"}, "task"),
        ({"source": "/etc/passwd"}, "source"),
        ({"source": "file:///etc/passwd"}, "source"),
        ({"source": "path:/etc"}, "source"),
        ({"source": "path:../../etc"}, "source"),
        ({"source": "http://127.0.0.1/"}, "source"),
        ({"source": "hf:a/b/c"}, "source"),
        ({"source": "hf:--upload-pack=x"}, "source"),
        ({"source": "hf:$(id)/x"}, "source"),
        ({"runtime": "text-generation"}, "source"),
        ({"runtime": ""}, "runtime"),
        ({"surprise": 1}, "version.surprise"),
    ],
)
def test_a_wrong_version_is_refused_by_name(ada, version, names):
    answer = ada.http.post("/v1/models", json={"name": "bad", "version": {"runtime": "echo"} | version})
    assert answer.status_code == 422, answer.text
    assert names in answer.json()["detail"]


def test_only_administrators_register_python_and_buckets(ada, api_settings):
    folder = next(iter(api_settings.model_root_folders[1:])) / "predictor"
    folder.mkdir(exist_ok=True)
    (folder / "predictor.py").write_text(
        "def predict(word: str, times: int = 2) -> str:\n    return word * times\n"
    )
    for source in ("path:predictor", "s3://bucket/model"):
        answer = ada.http.post(
            "/v1/models", json={"name": "code", "version": {"source": source, "runtime": "python"}}
        )
        assert answer.status_code == 403


def test_a_predictors_signature_becomes_its_schema(admin, bob, api_settings):
    folder = next(iter(api_settings.model_root_folders[1:])) / "signature"
    folder.mkdir(exist_ok=True)
    (folder / "predictor.py").write_text(
        "def predict(word: str, times: int = 2) -> str:\n    return word * times\n"
    )
    made = admin.http.post(
        "/v1/models", json={"name": "code", "visibility": "public", "version": {"source": "path:signature"}}
    )
    assert made.status_code == 201, made.text
    version = made.json()["latest_version"]
    assert version["runtime"] == "python"
    inputs = version["openapi_schema"]["components"]["schemas"]["Input"]
    assert inputs["properties"]["times"]["default"] == 2
    assert "signature" not in bob.http.get("/v1/models/root/code").json()["latest_version"]["source"]


def weights(root, name, config, *files):
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for file in files:
        (folder / file).write_bytes(b"x")


def test_what_a_folder_holds_decides_what_it_is(ada, api_settings):
    root = api_settings.model_root_folders[1]
    write_model(root / "gpt", {"architectures": ["GPT2LMHeadModel"]})
    version = ada.model("gpt", source="path:gpt", runtime="")["latest_version"]
    assert (version["runtime"], version["task"]) == ("text-generation", "")
    before = version["id"]
    write_model(root / "gpt", {"architectures": ["GPT2LMHeadModel"]}, "another.weight")
    after = ada.http.post("/v1/models/ada/gpt/versions", json={"source": "path:gpt"}).json()["id"]
    assert before != after


def test_pickled_weights_and_own_code_are_refused(ada, api_settings):
    root = api_settings.model_root_folders[1]
    weights(root, "pickle", {"architectures": ["GPT2LMHeadModel"]}, "pytorch_model.bin")
    weights(root, "code", {"architectures": ["GPT2LMHeadModel"], "auto_map": {"a": "b"}}, "model.safetensors")
    for name, word in (("pickle", "pickled"), ("code", "auto_map")):
        answer = ada.http.post("/v1/models", json={"name": name, "version": {"source": f"path:{name}"}})
        assert answer.status_code == 422
        assert word in answer.json()["detail"]
        assert str(root) not in answer.text


def test_a_private_model_is_its_owners_alone(ada, bob, admin):
    ada.model("secret")
    assert bob.http.get("/v1/models/ada/secret").status_code == 404
    assert bob.http.get("/v1/models/ada/secret/versions").status_code == 404
    assert bob.http.patch("/v1/models/ada/secret", json={"visibility": "public"}).status_code == 404
    assert bob.http.delete("/v1/models/ada/secret").status_code == 404
    assert bob.http.get("/v1/models").json()["results"] == []
    assert admin.http.get("/v1/models/ada/secret").status_code == 200
    assert (
        ada.http.patch("/v1/models/ada/secret", json={"visibility": "public"}).json()["visibility"]
        == "public"
    )
    assert bob.http.get("/v1/models/ada/secret").status_code == 200
    assert bob.http.delete("/v1/models/ada/secret").status_code == 403


def test_a_model_is_described_searched_and_deleted(ada, bob):
    ada.model("echo", visibility="public")
    change = {"description": "Says what you say", "readme": "# Echo", "github_url": "https://example.com/x"}
    assert ada.http.patch("/v1/models/ada/echo", json=change).json()["description"] == "Says what you say"
    assert ada.http.get("/v1/models/ada/echo/readme").text == "# Echo"
    assert ada.http.get("/v1/models/ada/echo/examples").json()["results"] == []
    for words, found in (
        ("says ECHO", 1),
        ("100%", 0),
        ("", 1),
        ('"says echo"', 1),
        ('"says', 0),
        ('"\\ud800"', 0),
    ):
        answer = bob.http.request(
            "QUERY", "/v1/models", content=words, headers={"Content-Type": "text/plain"}
        )
        assert (answer.status_code, len(answer.json()["results"])) == (200, found)
    assert bob.http.request("QUERY", "/v1/models", content='"\\u0000"').status_code == 422
    assert ada.http.delete("/v1/models/ada/echo").status_code == 204
    assert ada.http.get("/v1/models/ada/echo").status_code == 404
    assert ada.http.post("/v1/predictions", json={"version": "ada/echo", "input": {}}).status_code == 404
    ada.model("echo")


def test_the_list_speaks_to_both_families_of_clients(ada):
    for name in ("one", "two", "three"):
        ada.model(name)
    page = ada.http.get("/v1/models?limit=2").json()
    assert page["object"] == "list"
    assert [one["id"] for one in page["data"]] == ["ada/three", "ada/two"]
    assert [one["name"] for one in page["results"]] == ["three", "two"]
    rest = ada.http.get(page["next"]).json()
    assert [one["name"] for one in rest["results"]] == ["one"]
    assert rest["next"] is None
    assert [one["name"] for one in ada.http.get(rest["previous"]).json()["results"]] == ["three", "two"]
    assert ada.http.get("/v1/models?cursor=garbage").status_code == 422


@pytest.mark.parametrize("name", ["UPPER", "../x", "a b", "", ".x", "x" * 65, "a/b", "ä"])
def test_a_wrong_name_is_refused(ada, name):
    assert ada.http.post("/v1/models", json={"name": name}).status_code == 422


def test_a_name_is_taken_once_and_an_owner_is_oneself(ada, bob):
    ada.model("echo")
    assert ada.http.post("/v1/models", json={"name": "echo"}).status_code == 409
    assert bob.http.post("/v1/models", json={"owner": "ada", "name": "other"}).status_code == 403


def test_hardware_is_what_live_workers_have(ada, worker):
    [found] = ada.http.get("/v1/hardware").json()
    assert (found["sku"], found["name"], found["workers"], found["slots"], found["versions_loaded"]) == (
        "cpu",
        "Test CPU",
        1,
        8,
        0,
    )


def test_without_any_worker_ever_a_version_has_to_wait(ada, database):
    from sqlalchemy import text

    with database.unit() as session:
        session.execute(text("TRUNCATE runtimes"))
    answer = ada.http.post("/v1/models", json={"name": "x", "version": {"runtime": "echo"}})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize(
    ("runtime", "task"),
    [
        ("text-generation", ""),
        ("image-generation", ""),
        ("embedding", ""),
        ("pair-scoring", ""),
        ("pipeline", "text-classification"),
    ],
)
def test_every_torch_runtime_takes_the_settings_that_the_table_promises(ada, api_settings, runtime, task):
    folder = next(iter(api_settings.model_root_folders[1:])) / "weights"
    write_model(folder, {})
    config = {
        "dtype": "auto",
        "max_batch_size": "auto",
        "max_batch_tokens": "auto",
        "max_wait_ms": "auto",
        "timeout": 0,
        "keep_alive": 60,
        "pin": False,
    }
    version = {"source": "path:weights", "runtime": runtime, "task": task, "config": config}
    made = ada.http.post("/v1/models", json={"name": "auto", "version": version})
    assert made.status_code == 201, made.text
    assert made.json()["latest_version"]["config"] == config
    numbers = {"max_batch_size": 8, "max_batch_tokens": 0, "max_wait_ms": 2.5, "timeout": 1, "keep_alive": 0}
    again = ada.http.post("/v1/models/ada/auto/versions", json=version | {"config": config | numbers})
    assert again.status_code == 201, again.text


def test_a_setting_that_the_runtime_does_not_read_is_refused_by_name(ada):
    version = {"runtime": "echo", "config": {"dtype": "int8", "fused": True, "max_batch_size": "auto"}}
    answer = ada.http.post("/v1/models", json={"name": "bad", "version": version})
    assert answer.status_code == 422
    refused = {one["field"]: one for one in answer.json()["invalid_fields"]}
    assert set(refused) == {"config.dtype", "config.fused"}
    for one in refused.values():
        assert one["type"] == "additional_property_not_allowed"
        assert "is not read by the runtime 'echo'" in one["description"]


@pytest.mark.parametrize(("name", "value"), [("pin", True), ("prefetch", True), ("keep_alive", -1)])
def test_what_takes_memory_from_everybody_is_for_administrators(ada, admin, name, value):
    version = {"runtime": "echo", "config": {name: value}}
    refused = ada.http.post("/v1/models", json={"name": "hog", "version": version})
    [field] = refused.json()["invalid_fields"]
    assert (refused.status_code, field["field"], field["type"]) == (422, f"config.{name}", "forbidden")
    assert "administrators only: " in field["description"]
    assert admin.http.post("/v1/models", json={"name": "hog", "version": version}).status_code == 201
    harmless = {"runtime": "echo", "config": {"pin": False, "prefetch": False, "keep_alive": 0}}
    assert ada.http.post("/v1/models", json={"name": "fine", "version": harmless}).status_code == 201


def test_a_buckets_name_is_shown_to_its_owner_only(admin, ada):
    version = {"source": "s3://private-bucket/model", "runtime": "echo"}
    admin.http.post("/v1/models", json={"name": "s3", "visibility": "public", "version": version})
    shown = [person.http.get("/v1/models/root/s3").json()["latest_version"] for person in (admin, ada)]
    assert [version["source"] for version in shown] == ["s3://private-bucket/model", "s3:…"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input_schema", {"properties": {"text": {"description": "x" * 64_000}}}),
        ("input_schema", {"properties": {"text": {"default": "x" * 64_000}}}),
        ("input_schema", {"properties": {"text": {"enum": [str(n) * 10 for n in range(7_000)]}}}),
        ("config", {"device": "x" * 64_000}),
    ],
)
def test_a_version_may_not_be_longer_than_others_lists_can_bear(ada, name, value) -> None:
    """20 versions with schemas of 9 MB made everybody's list of models 180 MB long."""
    answer = ada.http.post("/v1/models", json={"name": "m", "version": {"runtime": "echo", name: value}})
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == name


def test_a_list_leaves_out_long_documents_and_the_version_has_them(ada) -> None:
    long = {"properties": {"text": {"description": "x" * 60_000}}}
    ada.model("long", input_schema=long)
    ada.model("short")
    short, listed = ada.http.get("/v1/models").json()["results"]
    assert (listed["latest_version"]["openapi_schema"], listed["latest_version"]["left_out"]) == (
        {},
        ["openapi_schema"],
    )
    assert short["latest_version"]["openapi_schema"]["components"]
    assert "left_out" not in short["latest_version"]
    [version] = ada.http.get("/v1/models/ada/long/versions").json()["results"]
    assert version["openapi_schema"] == {}
    whole = ada.http.get(f"/v1/models/ada/long/versions/{version['id']}").json()
    text = whole["openapi_schema"]["components"]["schemas"]["Input"]["properties"]["text"]
    assert len(text["description"]) == 60_000
    assert (
        ada.http.get("/v1/models/ada/long").json()["latest_version"]["openapi_schema"]
        == whole["openapi_schema"]
    )


def test_a_search_has_no_more_words_than_a_database_should_look_for(ada) -> None:
    answer = ada.http.request("QUERY", "/v1/models", content=b"a " * 33)
    assert (answer.status_code, answer.json()["invalid_fields"][0]["field"]) == (422, "body")
    assert ada.http.request("QUERY", "/v1/models", content=b"a " * 32).status_code == 200
