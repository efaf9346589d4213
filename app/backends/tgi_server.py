"""Hugging Face's text-generation-inference: OpenAI's API for texts, its own for what it serves."""

from collections.abc import Sequence
from typing import ClassVar

from app.backends.http_kind import CHECK_SECONDS
from app.backends.openai_server import OpenAIServer
from app.backends.tasks import TEXT_GENERATION
from app.domain.backends import ServedModel


class TgiServer(OpenAIServer):
    """One model each."""

    tasks: ClassVar[tuple[str, ...]] = (TEXT_GENERATION,)

    async def check(self) -> None:
        async with self.open("GET", self.root_url("/health"), silence=CHECK_SECONDS):
            pass

    async def list_models(self) -> Sequence[ServedModel]:
        info = await self.ask_object("GET", self.root_url("/info"), silence=CHECK_SECONDS)
        length = info.get("max_total_tokens") or info.get("max_input_tokens") or 0
        name = str(info.get("model_id") or "tgi")
        return [ServedModel(name, TEXT_GENERATION, context_length=int(length), streams=True)]
