"""pydantic-ai: agents whose answer is an object by either way, tools, streams."""

import asyncio
import os

from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

REQUIRES = ("pydantic-ai-slim[openai]==2.68.0",)
CALLS = ("openai.chat.completions.create", "openai.responses.create")


class Number(BaseModel):
    """A number."""

    n: int = Field(ge=0, le=9)


async def main() -> None:
    provider = OpenAIProvider(base_url=os.environ["LOVAGE_URL"] + "/v1", api_key=os.environ["LOVAGE_KEY"])
    settings = {"max_tokens": 200, "parallel_tool_calls": False}
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        model = kind(os.environ["CALLER"], provider=provider)
        for form in (NativeOutput(Number), ToolOutput(Number)):
            agent = Agent(model, output_type=form, model_settings=settings)
            assert (await agent.run("A number?")).output.n <= 9
    async with Agent(model, model_settings={"max_tokens": 4}).run_stream("Hello") as stream:
        assert [piece async for piece in stream.stream_text(delta=True)]
    try:
        await Agent(OpenAIChatModel("nobody/none", provider=provider)).run("Hello")
    except ModelHTTPError as error:
        assert error.status_code == 404
    else:
        raise AssertionError("a model that is not there has answered")


if __name__ == "__main__":
    asyncio.run(main())
