"""OpenAI's agents: two tools in one conversation, by either of its models."""

import asyncio
import os

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)

REQUIRES = ("openai-agents==0.24.0", "openai==3.52.0")
CALLS = ("openai.responses.create", "openai.chat.completions.create")
CALLER = os.environ.get("CALLER", "")
# A model without sense would go on to the end of its context, which these agents take for a failure.
SOON_AT_AN_END = {"logit_bias": {"0": 12}}


async def walk(kind: type) -> None:
    steps: list[str] = []

    @function_tool
    def north(n: int) -> str:
        """Goes north."""
        steps.append("north")
        return "ice"

    @function_tool
    def south(n: int) -> str:
        """Goes south."""
        steps.append("south")
        return "sand"

    async with openai.AsyncOpenAI(
        base_url=os.environ["LOVAGE_URL"] + "/v1", api_key=os.environ["LOVAGE_KEY"]
    ) as client:
        for tool in ("north", "south"):
            settings = ModelSettings(tool_choice=tool, parallel_tool_calls=False, extra_body=SOON_AT_AN_END)
            model = kind(model=CALLER, openai_client=client)
            tools = [north, south]
            agent = Agent(name="walker", tools=tools, model=model, model_settings=settings)
            assert (await Runner.run(agent, "Walk!", max_turns=4)).final_output is not None
        streamed = Runner.run_streamed(agent, "Walk!", max_turns=4)
        async for _ in streamed.stream_events():
            pass
    assert set(steps) == {"north", "south"}


async def main() -> None:
    set_tracing_disabled(True)
    for kind in (OpenAIResponsesModel, OpenAIChatCompletionsModel):
        await walk(kind)


if __name__ == "__main__":
    asyncio.run(main())
