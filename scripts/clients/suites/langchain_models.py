"""langchain's models: chat, tools, structured answers, texts, embeddings."""

import asyncio
import os
from typing import Any

import openai
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

REQUIRES = ("langchain-openai==1.7.4",)
CALLS = (
    "openai.chat.completions.create",
    "openai.completions.create",
    "openai.embeddings.create",
    "openai.responses.create",
)
TEXT, CALLER, EMBED = (os.environ.get(name, "") for name in ("TEXT", "CALLER", "EMBED"))
Place = dict[str, Any]


class Number(BaseModel):
    """A number."""

    n: int = Field(ge=0, le=9)


@tool
def turn(n: bool) -> bool:
    """Turns it round."""
    return not n


def main() -> None:
    place: Place = {
        "temperature": 0,
        "base_url": os.environ["LOVAGE_URL"] + "/v1",
        "api_key": os.environ["LOVAGE_KEY"],
    }
    chat(place)
    asyncio.run(chat_beside(place))
    tools(place)
    vectors(place)


def chat(place: Place) -> None:
    model = ChatOpenAI(model=TEXT, max_tokens=4, stream_usage=True, **place)
    assert model.invoke("Hello").content
    parts = list(model.stream("Hello"))
    assert "".join(str(part.content) for part in parts)
    assert any(part.usage_metadata for part in parts)
    assert OpenAI(model=TEXT, max_tokens=4, **place).invoke("The whale")
    assert list(OpenAI(model=TEXT, max_tokens=4, **place).stream("The whale"))
    assert ChatOpenAI(model=TEXT, max_tokens=4, use_responses_api=True, **place).invoke("Hello").content
    try:
        ChatOpenAI(model="nobody/none", **place).invoke("Hello")
    except openai.NotFoundError:
        return
    raise AssertionError("a model that is not there has answered")


async def chat_beside(place: Place) -> None:
    model = ChatOpenAI(model=TEXT, max_tokens=4, **place)
    assert len(await model.abatch(["Hello"] * 3)) == 3
    assert [part async for part in model.astream("Hello")]


def tools(place: Place) -> None:
    caller = ChatOpenAI(model=CALLER, max_tokens=200, **place)
    bound = caller.bind_tools([turn], tool_choice="turn", parallel_tool_calls=False)
    call = bound.invoke("Hello")
    assert set(call.tool_calls[0]["args"]) == {"n"}
    result = ToolMessage(str(turn.invoke(call.tool_calls[0]["args"])), tool_call_id=call.tool_calls[0]["id"])
    history = [HumanMessage("Hello"), call, result]
    assert ChatOpenAI(model=CALLER, max_tokens=4, **place).bind_tools([turn]).invoke(history).id
    assert any(part.tool_call_chunks for part in bound.stream("Hello"))
    for method in ("json_schema", "function_calling"):
        structured = caller.with_structured_output(Number, method=method)
        assert structured.invoke("A number?").n <= 9, method


def vectors(place: Place) -> None:
    where = {name: place[name] for name in ("base_url", "api_key")}
    with_texts = OpenAIEmbeddings(model=EMBED, check_embedding_ctx_length=False, **where)
    assert len(with_texts.embed_documents(["a", "b", ""])) == 3


if __name__ == "__main__":
    main()
