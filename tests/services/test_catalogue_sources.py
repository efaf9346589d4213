"""Where models come from and what their files say they are."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dripping import dripping

from app.domain.errors import InvalidRequest, Unavailable
from app.runtimes.pipelines.pipeline import Pipeline
from app.services.catalogue.model_files import LARGEST_CONFIG, ModelFiles
from app.services.catalogue.model_kind import kind_for_task, kind_of, streams_pieces
from app.services.catalogue.sources import SourceReader
from app.services.catalogue.version_maker import check_config

COMMIT = "c" * 40


@pytest.mark.parametrize(
    ("names", "config", "tag", "kind"),
    [
        (["predictor.py"], None, "", ("python", "")),
        (["model_index.json"], None, "", ("image-generation", "")),
        (["modules.json", "config.json"], {"architectures": ["BertModel"]}, "", ("embedding", "")),
        (["config.json"], {"architectures": ["BertModel"]}, "fill-mask", ("embedding", "")),
        (["config.json"], {"architectures": ["LlamaForCausalLM"]}, "", ("text-generation", "")),
        (
            ["config.json"],
            {"architectures": ["XForSequenceClassification"], "id2label": {"0": "x"}},
            "",
            ("pair-scoring", ""),
        ),
        (
            ["config.json"],
            {"architectures": ["XForSequenceClassification"], "id2label": {"0": "x", "1": "y"}},
            "",
            ("pipeline", "text-classification"),
        ),
        (
            ["config.json"],
            {"architectures": ["XForTokenClassification"]},
            "",
            ("pipeline", "token-classification"),
        ),
        (
            ["config.json"],
            {"architectures": ["WhisperForConditionalGeneration"]},
            "",
            ("pipeline", "automatic-speech-recognition"),
        ),
        (
            ["config.json"],
            {
                "architectures": ["LlavaForConditionalGeneration"],
                "image_token_id": 1,
                "vision_config": {},
            },
            "",
            ("text-generation", "image-text-to-text"),
        ),
        (["config.json"], {}, "image-text-to-text", ("text-generation", "image-text-to-text")),
        (
            ["config.json"],
            {"architectures": ["BlipForConditionalGeneration"], "vision_config": {}},
            "image-to-text",
            ("pipeline", "image-to-text"),
        ),
        (
            ["config.json"],
            {"architectures": ["Strange"]},
            "zero-shot-classification",
            ("pipeline", "zero-shot-classification"),
        ),
        (["config.json"], {"architectures": "odd"}, "", None),
        ([], None, "", None),
    ],
)
def test_files_say_what_a_model_is(names, config, tag, kind):
    assert kind_of(ModelFiles(names, {"config.json": config}, tag)) == kind


@pytest.mark.parametrize(
    ("name", "task", "streams"),
    [
        ("WhisperForConditionalGeneration", "automatic-speech-recognition", True),
        ("WhisperForConditionalGeneration", "audio-classification", False),
        ("Wav2Vec2ForCTC", "automatic-speech-recognition", False),
    ],
)
def test_of_a_runtime_that_streams_some_classes_versions_of_these_stream(
    name: str, task: str, streams: bool
) -> None:
    spec = {"name": "pipeline", "streams": False, "streaming_classes": Pipeline.spec.streaming_classes}
    files = ModelFiles(("config.json",), {"config.json": {"architectures": [name]}}, "")
    assert streams_pieces(spec, task, files) is streams


def test_a_task_names_its_runtime():
    assert kind_for_task("sentence-similarity") == ("embedding", "")
    assert kind_for_task("summarization") == ("pipeline", "summarization")


def test_a_folder_must_lie_under_a_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "m").mkdir(parents=True)
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "m" / "model.safetensors").write_bytes(b"x" * 10)
    (root / "m" / "passwd").symlink_to("/etc/passwd")
    reader = SourceReader([root])
    inspected = reader.inspect("path:m")
    assert str(inspected.source) == f"path:{root}/m"
    assert inspected.files.names == ["model.safetensors"]
    assert inspected.files.outside == ["passwd"]
    assert reader.inspect(f"path:{root}/m").fingerprint == inspected.fingerprint
    for bad in (
        "path:../outside",
        "path:link",
        f"path:{outside}",
        "path:absent",
        "path:/etc",
        "path:m/model.safetensors",
    ):
        with pytest.raises(InvalidRequest, match="source"):
            reader.inspect(bad)


def test_configuration_keys_are_checked_by_name():
    spec = {"name": "mine", "config": {"rows": {"type": "integer"}}}
    check_config({"max_batch_size": "auto", "timeout": 5, "rows": 3}, spec)
    for bad in ({"max_batch_sise": 5}, {"timeout": -1}, {"rows": "x"}, {"trust_remote_code": True}):
        with pytest.raises(InvalidRequest, match=rf"config\.{next(iter(bad))}"):
            check_config(bad, spec)


class Hub(BaseHTTPRequestHandler):
    """The little of the hub's API that looking at a model needs."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(head=True)

    def do_GET(self):
        self.answer(head=False)

    def answer(self, *, head):
        is_operator = self.headers.get("Authorization") == "Bearer hf_operator"
        if self.path.startswith("/api/models/org/gated"):
            body = {
                "id": "org/gated",
                "sha": COMMIT,
                "gated": "auto",
                "siblings": [{"rfilename": "x.safetensors"}],
            }
            return self.send(200, body, head)
        if self.path.startswith("/api/models/org/private") and is_operator:
            body = {"id": "org/private", "sha": COMMIT, "private": True, "siblings": []}
            return self.send(200, body, head)
        if self.path.startswith("/api/models/org/bert"):
            if "/revision/nope" in self.path:
                return self.send(404, {"error": "x"}, head, {"X-Error-Code": "RevisionNotFound"})
            files = [
                {"rfilename": "config.json", "size": 100},
                {"rfilename": "model.safetensors", "size": 5_000},
                {"rfilename": "pytorch_model.bin", "size": 6_000},
                {"rfilename": "tokenizer_config.json", "size": LARGEST_CONFIG + 1},
            ]
            return self.send(200, {"id": "org/bert", "sha": COMMIT, "siblings": files}, head)
        if self.path == f"/org/bert/resolve/{COMMIT}/config.json":
            extra = {"X-Repo-Commit": COMMIT, "ETag": '"abc"'}
            return self.send(200, {"architectures": ["BertModel"]}, head, extra)
        return self.send(404, {"error": "x"}, head, {"X-Error-Code": "RepoNotFound"})

    def send(self, status, body, head, extra=None):
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(content)),
            "Content-Type": "application/json",
            **(extra or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(content)


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_hub_revision_is_pinned_to_its_commit(hub):
    inspected = SourceReader([], hub).inspect("hf:org/bert@main")
    assert str(inspected.source) == f"hf:org/bert@{COMMIT}"
    assert kind_of(inspected.files) == ("embedding", "")
    assert inspected.files.has_safetensors
    assert inspected.download_bytes == 100 + 5_000 + LARGEST_CONFIG + 1, "what a worker fetches"
    assert inspected.files.config("tokenizer_config.json") == {}, "too large to be read"


def test_a_look_at_the_hub_has_one_deadline_however_slowly_it_answers():
    with dripping(b"HTTP/1.1 200 OK\r\n", b"x-more: 1\r\n") as url:
        reader = SourceReader([], url.removesuffix("/x"), lookup_seconds=2)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="hub cannot be reached"):
            reader.inspect("hf:org/bert")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("source", "word"), [("hf:org/bert@nope", "revision"), ("hf:org/absent", "not found")]
)
def test_what_the_hub_does_not_have_is_refused_by_name(hub, source, word):
    with pytest.raises(InvalidRequest, match=word):
        SourceReader([], hub).inspect(source)


def test_a_hub_that_cannot_be_reached_is_unavailable():
    with pytest.raises(Unavailable, match="hub cannot be reached"):
        SourceReader([], "http://127.0.0.1:9").inspect("hf:org/bert")


@pytest.mark.parametrize(("name", "word"), [("gated", "gated"), ("private", "private")])
def test_the_operators_token_opens_the_hub_for_operators_only(hub, name, word):
    reader = SourceReader([], hub, "hf_operator")
    assert str(reader.inspect(f"hf:org/{name}", as_operator=True).source) == f"hf:org/{name}@{COMMIT}"
    with pytest.raises(InvalidRequest, match=word) as refused:
        reader.inspect(f"hf:org/{name}")
    assert "administrators" in refused.value.detail


def test_a_folder_that_cannot_be_taken_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "roots").mkdir()
    (tmp_path / "elsewhere").mkdir()
    roots = [tmp_path / "roots"]
    for reader, location, said in (
        (SourceReader([]), "/models/x", "MODEL_ROOTS is empty"),
        (SourceReader(roots), str(roots[0] / "absent"), "is not there"),
        (SourceReader(roots), str(roots[0] / ("x" * 300)), "is not there"),
        (SourceReader(roots), str(tmp_path / "elsewhere"), "must be a folder under one of"),
        (SourceReader(roots), str(tmp_path / "nowhere"), "must be a folder under one of"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            reader.inspect(f"path:{location}")
    with pytest.raises(InvalidRequest, match=f"must be a folder under {roots[0]} "):
        SourceReader(roots).inspect(f"path:{tmp_path}/elsewhere", as_operator=True)
