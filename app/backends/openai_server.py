"""Servers that speak OpenAI's API: vLLM, SGLang, llama.cpp, LM Studio, TGI, hosted ones. Completions and chat
are always streamed, so that a cancel reaches the model and a cut is noticed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from app.backends.base import BackendCall, JsonObject
from app.backends.http_kind import CHECK_SECONDS, HttpKind, parse_json, read_events
from app.backends.openai_pieces import StreamedText
from app.backends.tasks import EMBEDDING, PAIR_SCORING, TEXT_GENERATION, infer_task
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import ServedModel
from app.domain.work import Chunk, Event, Finished

DONE = b"[DONE]"
REST_SECONDS = 1.0  # for what a server still sends behind the end, so that its connection can be used again
# Our inputs that have another name there; the others have the same.
NAMES = {"max_new_tokens": "max_tokens"}


class OpenAIServer(HttpKind):
    """Option `path`: where the API begins, if not at /v1."""

    default_path = "/v1"
    tasks: ClassVar[tuple[str, ...]] = (TEXT_GENERATION, EMBEDDING, PAIR_SCORING)

    async def check(self) -> None:
        await self.ask("GET", self.url("/models"), silence=CHECK_SECONDS)

    async def list_models(self) -> Sequence[ServedModel]:
        answer = await self.ask("GET", self.url("/models"), silence=CHECK_SECONDS)
        listed = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise UpstreamFailed("does not list its models as OpenAI's API does", Fault.SETUP)
        return [served_model(each) for each in listed if isinstance(each, dict) and each.get("id")]

    def run(self, call: BackendCall) -> AsyncIterator[Event]:
        if call.task == EMBEDDING:
            return self.embed(call)
        return self.score(call) if call.task == PAIR_SCORING else self.generate(call)

    async def generate(self, call: BackendCall) -> AsyncIterator[Event]:
        """A text or a conversation, continued."""
        path = "/chat/completions" if "messages" in call.input else "/completions"
        text = StreamedText()
        async with self.open("POST", self.url(path), body_of(call)) as answer:
            if "event-stream" not in answer.headers.get("content-type", ""):
                raise UpstreamFailed("does not stream its answer")
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as rest:
                    async for data in read_events(answer):
                        if data == DONE:
                            text.is_whole = True
                            rest.reschedule(asyncio.get_running_loop().time() + REST_SECONDS)
                        elif not text.is_whole and (piece := text.add(parse_json(data))) is not None:
                            yield Chunk(piece)
        if (last := text.last_piece()) is not None:
            yield Chunk(last)
        yield Finished(text.pieces, text.metrics())

    async def embed(self, call: BackendCall) -> AsyncIterator[Event]:
        """A vector for a text, or a list of them."""
        text = call.input["text"]
        texts = [text] if isinstance(text, str) else text
        body = {"model": call.model, "input": texts, "encoding_format": "float"}
        answer = await self.ask("POST", self.url("/embeddings"), body)
        vectors = ordered(answer.get("data") if isinstance(answer, dict) else None, "embedding", len(texts))
        usage = answer.get("usage") or {}
        metrics = {"input_tokens": int(usage.get("prompt_tokens") or 0)}
        yield Finished(vectors[0] if isinstance(text, str) else vectors, metrics)

    async def score(self, call: BackendCall) -> AsyncIterator[Event]:
        """By the form of Jina's and Cohere's API, which vLLM and others serve beside OpenAI's."""
        texts = call.input["texts"]
        body = {"model": call.model, "query": call.input["query"], "documents": texts}
        answer = await self.ask("POST", self.url("/rerank"), body)
        results = answer.get("results") if isinstance(answer, dict) else None
        yield Finished(ordered(results, "relevance_score", len(texts)))


def served_model(listed: JsonObject) -> ServedModel:
    """One of a server's list; vLLM and SGLang say the context's length as well."""
    length = listed.get("max_model_len") or listed.get("context_length") or 0
    name = str(listed["id"])
    return ServedModel(name, infer_task(name), context_length=int(length), streams=True)


def body_of(call: BackendCall) -> JsonObject:
    """The request for a prediction's input."""
    values = {NAMES.get(name, name): value for name, value in call.input.items() if value is not None}
    if (schema := values.pop("json_schema", None)) is not None:
        form = {"name": "answer", "schema": schema, "strict": True}
        values["response_format"] = {"type": "json_schema", "json_schema": form}
    if (choice := values.get("tool_choice")) not in (None, "auto", "none", "required"):
        values["tool_choice"] = {"type": "function", "function": {"name": choice}}
    return {"model": call.model, **values, "stream": True, "stream_options": {"include_usage": True}}


def ordered(results: Any, member: str, count: int) -> list[Any]:
    """One value for each input, in their order, whatever order they came in. Raises UpstreamFailed unless
    there is exactly one for each."""
    values: dict[int, Any] = {}
    for position, result in enumerate(results if isinstance(results, list) else ()):
        if isinstance(result, dict) and member in result:
            values[int(result.get("index", position))] = result[member]
    if sorted(values) != list(range(count)):
        raise UpstreamFailed(f"answered {len(values)} results for {count} inputs")
    return [values[number] for number in range(count)]
