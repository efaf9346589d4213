"""haystack: its OpenAI generators and embedders."""

import os

from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage, Document
from haystack.tools import Tool
from haystack.utils import Secret

REQUIRES = ("haystack-ai==3.4.1",)
CALLS = ("openai.chat.completions.create", "openai.embeddings.create")
TEXT, CALLER, EMBED = (os.environ.get(name, "") for name in ("TEXT", "CALLER", "EMBED"))
PARAMETERS = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["n"],
    "additionalProperties": False,
}
HELLO = [ChatMessage.from_user("Hello")]


def main() -> None:
    place = {
        "api_base_url": os.environ["LOVAGE_URL"] + "/v1",
        "api_key": Secret.from_token(os.environ["LOVAGE_KEY"]),
    }
    four = {"max_tokens": 4}
    chat = OpenAIChatGenerator(model=TEXT, generation_kwargs=four, **place)
    assert chat.run(HELLO)["replies"][0].text
    parts: list[str] = []
    streamed = OpenAIChatGenerator(
        model=TEXT,
        generation_kwargs=four,
        streaming_callback=lambda part: parts.append(part.content),
        **place,
    )
    assert streamed.run(HELLO)["replies"][0].text == "".join(parts)
    tool = Tool(name="add", description="Adds.", parameters=PARAMETERS, function=lambda n: n + 1)
    forced = {"tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 200}
    caller = OpenAIChatGenerator(model=CALLER, tools=[tool], generation_kwargs=forced, **place)
    reply = caller.run(HELLO)["replies"][0]
    call = reply.tool_calls[0]
    assert set(call.arguments) == {"n"}
    history = [*HELLO, reply, ChatMessage.from_tool(str(tool.invoke(**call.arguments)), origin=call)]
    assert OpenAIChatGenerator(model=CALLER, generation_kwargs=four, **place).run(history)["replies"]
    assert len(OpenAITextEmbedder(model=EMBED, **place).run("a text")["embedding"]) == 384
    documents = [Document(content="a"), Document(content="b")]
    assert OpenAIDocumentEmbedder(model=EMBED, **place).run(documents)["documents"][1].embedding
    try:
        OpenAIChatGenerator(model="nobody/none", **place).run(HELLO)
    except Exception as error:
        assert "nobody/none" in str(error), error
    else:
        raise AssertionError("a model that is not there has answered")


if __name__ == "__main__":
    main()
