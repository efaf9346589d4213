"""Ollama: OpenAI's API for what it runs, its own for what it has."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from app.backends.http_kind import CHECK_SECONDS
from app.backends.openai_server import OpenAIServer
from app.backends.tasks import EMBEDDING, TEXT_GENERATION, infer_task
from app.domain.backends import ServedModel

MOST_MODELS = 200


class OllamaServer(OpenAIServer):
    """Its address is its root, or /v1 of it."""

    tasks: ClassVar[tuple[str, ...]] = (TEXT_GENERATION, EMBEDDING)

    async def check(self) -> None:
        """`/api/version` loads no model."""
        await self.ask("GET", self.root_url("/api/version"), silence=CHECK_SECONDS)

    async def list_models(self) -> Sequence[ServedModel]:
        tags = await self.ask_object("GET", self.root_url("/api/tags"), silence=CHECK_SECONDS)
        listed = [each for each in tags.get("models") or () if isinstance(each, dict)]
        names = [str(each.get("model") or each.get("name") or "") for each in listed]
        return [await self._served(name) for name in filter(None, names[:MOST_MODELS])]

    async def _served(self, name: str) -> ServedModel:
        shown = await self.ask_object("POST", self.root_url("/api/show"), {"model": name}, CHECK_SECONDS)
        facts = shown.get("model_info") or {}
        abilities = shown.get("capabilities") or ()
        embeds = "embedding" in abilities if abilities else infer_task(name) == EMBEDDING
        dimensions = _number(facts, ".embedding_length") if embeds else 0
        task = EMBEDDING if embeds else TEXT_GENERATION
        return ServedModel(name, task, _number(facts, ".context_length"), dimensions, streams=not embeds)


def _number(facts: Mapping[str, Any], ending: str) -> int:
    """Of the fact whose name ends so: the beginning is the architecture's."""
    values = (value for name, value in facts.items() if name.endswith(ending))
    return int(next(values, 0) or 0)
