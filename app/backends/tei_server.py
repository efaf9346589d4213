"""Hugging Face's text-embeddings-inference: embeddings, and scores of a reranker."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar

from app.backends.base import BackendCall
from app.backends.http_kind import CHECK_SECONDS, HttpKind
from app.backends.openai_server import ordered
from app.backends.tasks import EMBEDDING, PAIR_SCORING
from app.domain.backend_retry import UpstreamFailed
from app.domain.backends import ServedModel
from app.domain.work import Event, Finished


class TeiServer(HttpKind):
    """One model each. Longer texts are cut at its limit, as an encoder here does."""

    tasks: ClassVar[tuple[str, ...]] = (EMBEDDING, PAIR_SCORING)

    async def check(self) -> None:
        async with self.open("GET", self.root_url("/health"), silence=CHECK_SECONDS):
            pass

    async def list_models(self) -> Sequence[ServedModel]:
        info = await self.ask_object("GET", self.root_url("/info"), silence=CHECK_SECONDS)
        kinds = info.get("model_type") or {}
        task = EMBEDDING if isinstance(kinds, dict) and "embedding" in kinds else PAIR_SCORING
        name, length = str(info.get("model_id") or "tei"), int(info.get("max_input_length") or 0)
        return [ServedModel(name, task, context_length=length)]

    def run(self, call: BackendCall) -> AsyncIterator[Event]:
        return self.score(call) if call.task == PAIR_SCORING else self.embed(call)

    async def embed(self, call: BackendCall) -> AsyncIterator[Event]:
        """A vector for a text, or a list of them."""
        text = call.input["text"]
        texts = [text] if isinstance(text, str) else text
        vectors = await self.ask("POST", self.url("/embed"), {"inputs": texts, "truncate": True})
        check_vectors(vectors, len(texts))
        yield Finished(vectors[0] if isinstance(text, str) else vectors)

    async def score(self, call: BackendCall) -> AsyncIterator[Event]:
        """A score for each text."""
        values = call.input
        body = {
            "query": values["query"],
            "texts": values["texts"],
            "raw_scores": bool(values.get("raw_scores")),
            "truncate": True,
        }
        results = await self.ask("POST", self.url("/rerank"), body)
        yield Finished(ordered(results, "score", len(values["texts"])))


def check_vectors(vectors: Any, count: int) -> None:
    """Raises UpstreamFailed unless there is one for each text."""
    if not isinstance(vectors, list) or not all(isinstance(vector, list) for vector in vectors):
        raise UpstreamFailed("answered no list of vectors")
    if len(vectors) != count:
        raise UpstreamFailed(f"answered {len(vectors)} results for {count} inputs")
