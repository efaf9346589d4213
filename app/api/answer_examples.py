"""Examples of answers in the OpenAPI document: made from each answer's schema, with values by the names of
its members, so that a new route has one as well. A test holds each against its schema.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from app.api.problems import MEDIA_TYPE, STATUS, WORDS, problem_body

PREDICTION = "01kam7vn3c9x0r2f4h6j8m0p2s"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
TIME = "2026-11-02T09:15:00Z"
SENTENCE = "max_tokens: Input should be greater than or equal to 1."
BASE = "https://lovage.example"
# By the name of a member, or by "Schema.member" where a name means several things.
VALUES: dict[str, Any] = {
    "access_token": "lov_8Zk3",
    "AccountOut.name": "ada",
    "AuthorOut.name": "ada",
    "KeyOut.name": "laptop",
    "NewKeyOut.name": "laptop",
    "BackendOut.name": "gpu",
    "FileOut.name": "cat.png",
    "UploadFileOut.name": "model.safetensors",
    "FunctionOut.name": "weather",
    "IndexOut.name": "Lovage",
    "ServerOut.name": "lovage",
    "SettingOut.name": "MAX_WAITING",
    "SettingOut.value": "100000",
    "SettingOut.origin": "default",
    "RuntimeOut.name": "text-generation",
    "LaneOut.name": "demo/words",
    "TensorMetadataOut.name": "prompt",
    "TensorOut.name": "text_output",
    "RagErrorOut.error_type": "Validation",
    "AuditOut.request_id": "7c1e0b5a9d3f4e21",
    "BackendTestOut.error": "",
    "RuntimeOut.error": "",
    "RuntimeOut.description": "Writes texts, all requests in one batch.",
    "RuntimeOut.origin": "built-in",
    "SyncedModelOut.error": "",
    "ResponseOut.error": None,
    "ResponseOut.status": "completed",
    "SettingOut.description": "Predictions that may wait, of everybody together.",
    "CheckOut.source": "hf:HuggingFaceTB/SmolLM2-135M-Instruct",
    "VersionOut.source": "hf:HuggingFaceTB/SmolLM2-135M-Instruct",
    "ModelUploadOut.source": "upload:my-words",
    "CheckOut.problems": [],
    "ModelOut.id": "demo/words",
    "ModelOut.name": "words",
    "OpenAIModelOut.id": "demo/words",
    "DeploymentOut.name": "my-words",
    "VersionOut.id": VERSION,
    "WorkerOut.id": "cpu@worker-1",
    "FileOut.id": "5QmR1TzGQbW2n3y8",
    "ImageOut.url": f"{BASE}/v1/files/content/outputs/{PREDICTION}/0.png",
    "DeliveryOut.url": "https://ada.example/hook",
    "SentDeliveryOut.url": "https://ada.example/hook",
    "AttemptOut.error": None,
    "AttemptOut.status_code": 200,
    "SentDeliveryOut.status": "delivered",
    "DeliveryOut.status": "delivered",
    "BackendOut.url": "http://10.0.0.7:8000",
    "SelectionOut.backend": "gpu",
    "BackendCandidateOut.backend": "gpu",
    "SessionOut.token": "eyJ2IjoiN2M…",
    "RefusedOut.code": "gone",
    "RefusedOut.detail": "Its input has expired.",
    "InfoOut.model_type": {"embedding": {"pooling": "mean"}},
    "OllamaDetailsOut.families": ["gpt2"],
    "OllamaDetailsOut.family": "gpt2",
    "OllamaDetailsOut.quantization_level": "F32",
    "LabelOut.score": 0.98,
    "relevance_score": 0.87,
    "ErrorGroupOut.error": "no such label",
    "ErrorGroupOut.error_code": "model_failed",
    "group": "b1946ac92492d234",
    "prediction": PREDICTION,
    "of": PREDICTION,
    "canceled": [PREDICTION],
    "redelivered": [PREDICTION],
    "etag": '"5d41402abc4b2a76"',
    "sha256": VERSION,
    "model_sha": VERSION,
    "model_version": VERSION,
    "versions": [VERSION],
    "extensions": ["model_repository"],
    "hardware": "cpu",
    "tasks": ["text-generation"],
    "reasons": ["least loaded of 2"],
    "parameters": "",
    "upstream": "words",
    "origin": "default",
    "index": 0,
    "score": 0.87,
    "seconds": 0.4,
    "completion_tokens": 3,
    "prompt_tokens": 5,
    "total_tokens": 8,
    "input_tokens": 5,
    "output_tokens": 3,
    "expires_in": 3600,
    "size": 204800,
    "step_seconds": 60,
    "window_seconds": 3600,
    "max_client_batch_size": 32,
    "scopes": ["predict"],
    "embedding": [0.0121, -0.0587],
    "embeddings": [[0.0121, -0.0587]],
    "asked": ["cpu@worker-1"],
    "queues": ["cpu"],
    "workers": ["cpu@worker-1"],
    "capabilities": ["completion"],
    "action": "model.create",
    "AuditOut.address": "192.0.2.7",
    "AuditOut.id": 4711,
    "SessionOut.address": "192.0.2.9:7200",
    "architecture": "GPT2LMHeadModel",
    "arguments": '{"city": "Riga"}',
    "cancel": f"{BASE}/v1/predictions/{PREDICTION}/cancel",
    "capability": "avx512",
    "ErrorBody.type": "invalid_request_error",
    "ErrorBody.param": "max_tokens",
    "AnthropicErrorDetailOut.type": "invalid_request_error",
    "AnthropicMessageOut.content": [{"type": "text", "text": "The sea."}],
    "AnthropicMessageOut.id": f"msg_{PREDICTION}",
    "ResponseOut.id": f"resp_{PREDICTION}",
    "ResponseDeletedOut.id": f"resp_{PREDICTION}",
    "ChatOut.id": f"chatcmpl-{PREDICTION}",
    "ResponseOut.created_at": 1793610900,
    "content": "The sea.",
    "content_type": "image/png",
    "created": 1793610900,
    "created_at": TIME,
    "datatype": "FP32",
    "day": "2026-11-02",
    "description": "Says it again.",
    "detail": SENTENCE,
    "device": "cpu",
    "device_class": "cpu",
    "digest": VERSION,
    "dtype": "float32",
    "email": "ada@example.com",
    "error": SENTENCE,
    "error_type": "invalid_request_error",
    "event": "completed",
    "field": "max_tokens",
    "finish_reason": "stop",
    "get": f"{BASE}/v1/predictions/{PREDICTION}",
    "host": "worker-1",
    "id": PREDICTION,
    "key": "lov_8Zk3",
    "kind": "openai",
    "label": "neutral",
    "license": "",
    "message": SENTENCE,
    "missing": [],
    "model": "demo/words",
    "model_id": "demo/minilm",
    "model_name": "demo/words",
    "modelfile": "",
    "name": "demo/words",
    "object": "list",
    "output": [{"type": "message", "role": "assistant"}],
    "owned_by": "demo",
    "owner": "demo",
    "platform": "lovage_text-generation",
    "policy": "least-loaded",
    "prefix": "lov_8Zk3",
    "queue": "cpu",
    "reason": "",
    "response": "The sea.",
    "runtime": "text-generation",
    "shape": [1],
    "sku": "cpu",
    "source": "api",
    "state": "ready",
    "status": "ok",
    "stop_reason": "end_turn",
    "strategy": "least-loaded",
    "target": "demo/words",
    "task": "text-generation",
    "text": "The sea.",
    "text_output": "The sea.",
    "token": " sea",
    "url": f"{BASE}/v1/models/demo/words",
    "username": "ada",
    "version": VERSION,
    "HealthOut.version": "1.0.0",
    "IndexOut.version": "1.0.0",
    "StatusOut.version": "1.0.0",
    "ServerOut.version": "1.0.0",
    "InfoOut.version": "1.0.0",
    "OllamaVersionOut.version": "1.0.0",
    "visibility": "public",
    "worker": "cpu@worker-1",
}
CHUNK = f'data: {{"id": "chatcmpl-{PREDICTION}", "object": "chat.completion.chunk", "choices": '
PIECE = '[{"index": 0, "delta": {"content": " sea"}}]}\n\ndata: [DONE]\n\n'
# What no schema describes: streams, plain texts, copies of what was sent, by the beginning of the name.
TEXTS: dict[str, dict[str, Any]] = {
    "application/json": {
        "oip.repository.": {},
        "predictions.deliveries.body": {"id": PREDICTION, "status": "succeeded", "output": ["Hello"]},
    },
    "text/event-stream": {
        "openai.chat.": CHUNK + PIECE,
        "openai.completions.": 'data: {"object": "text_completion", "choices": '
        '[{"index": 0, "text": " sea"}]}\n\ndata: [DONE]\n\n',
        "openai.responses.": "event: response.output_text.delta\n"
        'data: {"type": "response.output_text.delta", "sequence_number": 4, "delta": " sea"}\n\n',
        "openai.audio.": 'data: {"type": "transcript.text.done", "text": "The sea."}\n\n',
        "anthropic.": "event: content_block_delta\ndata: "
        '{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " sea"}}\n\n',
        "oip.": 'data: {"model_name": "demo/words", "text_output": " sea"}\n\n',
        "streams.": "id: 3-0\nevent: output\ndata:  sea\n\nid: 4-0\nevent: done\ndata: {}\n\n",
    },
    "application/x-ndjson": {
        "ollama.chat": '{"model": "demo/words", "message": {"role": "assistant", "content": " sea"}, '
        '"done": false}\n',
        "ollama.generate": '{"model": "demo/words", "response": " sea", "done": false}\n',
    },
    "text/plain": {
        "openai.audio.": "The sea.\n",
        "platform.metrics": "# TYPE lovage_predictions_waiting gauge\nlovage_predictions_waiting 0\n",
        "platform.": "ok\n",
        "models.readme": "# Words\n",
    },
    "application/openmetrics-text": {
        "platform.metrics": "# TYPE lovage_predictions_waiting gauge\nlovage_predictions_waiting 0\n# EOF\n"
    },
}
DETAILS = {
    404: "There is no model demo/word.",
    409: "There is a model ada/words already.",
    422: SENTENCE,
}
DEEPEST = 12  # a schema within itself ends here at the latest


class _Sampler:
    """Values for schemas of one document."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas

    def sample(self, schema: dict[str, Any], owner: str = "", name: str = "", depth: int = 0) -> Any:
        """A value that the schema takes, as the member `name` of the schema `owner`."""
        if "$ref" in schema:
            owner = schema["$ref"].rpartition("/")[2]
            return self.sample(self._schemas[owner], owner, name, depth)
        if f"{owner}.{name}" in VALUES:
            return VALUES[f"{owner}.{name}"]
        for known in _known_values(schema, name):
            return known
        if choices := schema.get("anyOf", schema.get("oneOf")):
            return self._choose(choices, owner, name, depth)
        if "allOf" in schema:
            return self.sample(schema["allOf"][0], owner, name, depth)
        return self._plain(schema, owner, name, depth)

    def _choose(self, choices: list[dict[str, Any]], owner: str, name: str, depth: int) -> Any:
        """What may be null is null, unless its name has a value of a kind that it takes."""
        if {"type": "null"} in choices and (name not in VALUES or depth >= DEEPEST):
            return None
        fitting = [each for each in choices if each.get("type") != "null"]
        return self.sample(fitting[0], owner, name, depth)

    def _plain(self, schema: dict[str, Any], owner: str, name: str, depth: int) -> Any:
        match schema.get("type"):
            case "object":
                members = schema.get("properties", {}).items()
                return {key: self.sample(each, owner, key, depth + 1) for key, each in members}
            case "array":
                return [] if depth >= DEEPEST else [self.sample(schema.get("items", {}), "", name, depth + 1)]
            case "integer" | "number":
                return max(1, schema.get("minimum", 1))
            case "boolean":
                return name in ("done", "live", "ready", "ok", "is_done", "is_complete", "complete")
            case "null":
                return None
        return {"date-time": TIME, "date": TIME[:10], "uuid": "0b9f1c1e-1f0a-4a39-9d35-6a2a1f5f0f55"}.get(
            schema.get("format", ""), name
        )


def _known_values(schema: dict[str, Any], name: str) -> Iterator[Any]:
    """What the schema itself says of its values, and what its name does, the best first."""
    yield from schema.get("examples", ())[:1]
    if "const" in schema:
        yield schema["const"]
    yield from schema.get("enum", ())[:1]
    if name in VALUES and _takes(schema, VALUES[name]):
        yield VALUES[name]
    if schema.get("default") is not None:
        yield schema["default"]


def _takes(schema: dict[str, Any], value: Any) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "array": (list,),
        "object": (dict,),
    }
    if schema.get("type") == "array" and value:
        return isinstance(value, list) and _takes(schema.get("items", {}), value[0])
    is_time = schema.get("format") in ("date-time", "uuid")
    return not is_time and isinstance(value, kinds.get(schema.get("type", ""), ()))


def add_examples(document: dict[str, Any]) -> None:
    """An example for every answer of the document that has none."""
    schemas = document["components"]["schemas"]
    sampler = _Sampler(schemas)
    for name, status, kind, media in _answers(document):
        schema = media.get("schema") or {}
        if kind == MEDIA_TYPE:
            media["example"] = _problem(int(status))
        elif "$ref" in schema:
            referred = schemas[schema["$ref"].rpartition("/")[2]]
            referred.setdefault("examples", [sampler.sample(schema)])
            _restore_nulls(referred)
        elif kind == "application/json" and schema:
            media["example"] = sampler.sample(schema)
        elif (text := _text(kind, name)) is not None:
            media["example"] = text
            if isinstance(text, str):
                media.setdefault("schema", {"type": "string"})


def _restore_nulls(schema: dict[str, Any]) -> None:
    """FastAPI drops them from the examples of its models."""
    for example in schema["examples"]:
        for name in schema.get("required", ()):
            if {"type": "null"} in schema["properties"][name].get("anyOf", ()):
                example.setdefault(name, None)


def _answers(document: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                for kind, media in answer.get("content", {}).items():
                    yield operation["operationId"], str(status), kind, media


def _text(kind: str, name: str) -> Any:
    return next((text for begin, text in TEXTS.get(kind, {}).items() if name.startswith(begin)), None)


def _problem(status: int) -> dict[str, Any]:
    """The problem that such an error is, by the code that makes them all."""
    kind = next((kind for kind, each in STATUS if each == status), None)
    title = kind.title if kind else WORDS[status]
    code = kind.code if kind else title.lower().replace(" ", "_")
    example: dict[str, Any] = orjson.loads(
        problem_body(status, code, title, DETAILS.get(status, f"{title}."))
    )
    return example
