"""A client that openapi-python-client makes from the document that the platform serves: every module compiles
and is imported, one call of each tag answers with the model that it names."""

import importlib
import io
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

REQUIRES = ("openapi-python-client==0.29.1",)
CALLS = (
    "account.get",
    "anthropic.messages.create",
    "backends.list",
    "deployments.list",
    "files.create",
    "files.read",
    "models.get",
    "oip.infer",
    "ollama.chat",
    "openai.chat.completions.create",
    "platform.status",
    "predictions.create",
    "rerank.create",
    "tei.model.embed",
    "webhooks.secret",
)
URL, KEY, SCRATCH = (os.environ.get(name, "") for name in ("LOVAGE_URL", "LOVAGE_KEY", "SCRATCH"))
TEXT, EMBED, ECHO, RANKER = (os.environ.get(name, "") for name in ("TEXT", "EMBED", "ECHO", "RANKER"))
HELLO = [{"role": "user", "content": "Hello"}]
# It reads one type of an answer; a sound has six.
ONLY_WARNING = "POST /v1/audio/speech"
PACKAGE = "lovage_client"


def main() -> None:
    document = httpx.get(f"{URL}/openapi.json", timeout=60).raise_for_status()
    package = generate(document.content)
    modules = [each.name for each in pkgutil.walk_packages(package.__path__, PACKAGE + ".")]
    for name in modules:
        importlib.import_module(name)
    tags = {tag["name"] for tag in document.json()["tags"]}
    assert call_each(package) == {tag.lower().replace("openai", "open_ai") for tag in tags}


def generate(document: bytes) -> ModuleType:
    """The package, made anew in the scratch folder."""
    source = Path(SCRATCH) / "openapi.json"
    source.write_bytes(document)
    target = Path(SCRATCH) / PACKAGE
    options = ["--path", source, "--meta", "none", "--output-path", target]
    command = [sys.executable, "-m", "openapi_python_client", "generate", *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # of the formatter it calls
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = [line for line in (done.stdout + done.stderr).splitlines() if "WARNING" in line]
    assert all(ONLY_WARNING in line for line in warnings), warnings
    sys.path.insert(0, SCRATCH)
    return importlib.import_module(PACKAGE)


class Caller:
    """Calls by the generated client; `answered`: the tags of which one call answered with a model of the
    document."""

    def __init__(self, package: ModuleType) -> None:
        self._client = package.AuthenticatedClient(base_url=URL, token=KEY, raise_on_unexpected_status=True)
        self.answered: set[str] = set()

    def __call__(self, tag: str, operation: str, body: Any = None, **more: Any) -> Any:
        module = importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}")
        if isinstance(body, dict):
            more["body"] = module._get_kwargs.__annotations__["body"].from_dict(body)
        elif body is not None:
            more["body"] = body
        answer = module.sync(client=self._client, **more)
        assert answer is not None, operation
        assert "Problem" not in type(answer).__name__, answer
        assert "Error" not in type(answer).__name__, answer
        self.answered.add(tag)
        return answer


def call_each(package: ModuleType) -> set[str]:
    """The tags of which one call answered."""
    call, types = Caller(package), importlib.import_module(PACKAGE + ".types")
    text = {"model": TEXT, "messages": HELLO}
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hello"]}
    file = types.File(payload=io.BytesIO(b"hello"), file_name="hello.txt", mime_type="text/plain")
    owner, _, name = TEXT.partition("/")
    assert call("accounts", "account_get").username
    assert call("anthropic", "anthropic_messages_create", {**text, "max_tokens": 4}).content
    assert call("backends", "backends_list").results == []
    assert call("deployments", "deployments_list").results is not None
    upload = importlib.import_module(f"{PACKAGE}.models").FilesCreateBody(content=file)
    made = call("files", "files_create", body=upload)
    assert call("files", "files_read", file_id=made.id).payload.read() == b"hello"
    assert call("models", "models_get", owner=owner, name=name).name == name
    assert call("oip", "oip_infer", {"inputs": [tensor]}, model=ECHO).outputs
    assert call("ollama", "ollama_chat", {**text, "stream": False, "options": {"num_predict": 4}}).message
    assert call("open_ai", "openai_chat_completions_create", {**text, "max_tokens": 4}).choices
    assert call("platform", "platform_status").live_workers
    prediction = {"version": ECHO, "input": {"text": "hello"}}
    assert call("predictions", "predictions_create", prediction, prefer="wait").id
    ranked = {"model": RANKER, "query": "a", "documents": ["b", "c"]}
    assert len(call("rerank", "rerank_create", ranked).results) == 2
    maker, _, embedder = EMBED.partition("/")
    vectors = call("tei", "tei_model_embed", {"inputs": ["a", "b"]}, owner=maker, name=embedder)
    assert len(vectors) == 2
    assert call("webhooks", "webhooks_secret").key
    return call.answered


if __name__ == "__main__":
    main()
