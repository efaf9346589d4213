"""Anthropic's own client."""

import os

import anthropic

REQUIRES = ("anthropic==2.14.0",)
CALLS = ("anthropic.messages.create",)
TEXT, CALLER = os.environ.get("TEXT", ""), os.environ.get("CALLER", "")
SEER = os.environ.get("SEER")  # not where only the ordinary tests' models are
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"  # red
GREEDY = {"temperature": 0}  # this client has no argument for it
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 8}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def main() -> None:
    client = anthropic.Anthropic(base_url=os.environ["LOVAGE_URL"], api_key=os.environ["LOVAGE_KEY"])
    whole = client.messages.create(model=TEXT, max_tokens=8, messages=HELLO, extra_body=GREEDY)
    assert whole.content[0].text
    assert whole.usage.output_tokens == 8
    with client.messages.stream(model=TEXT, max_tokens=8, messages=HELLO, extra_body=GREEDY) as stream:
        assert "".join(stream.text_stream) == stream.get_final_message().content[0].text
    choice = {"type": "tool", "name": "weather"}
    call = client.messages.create(
        model=CALLER, max_tokens=300, messages=HELLO, tools=[TOOL], tool_choice=choice
    )
    assert call.stop_reason == "tool_use"
    block = call.content[-1]
    assert set(block.input) == {"city"}
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "rain"}
    history = [*HELLO, {"role": "assistant", "content": call.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(model=CALLER, max_tokens=4, messages=history, tools=[TOOL]).id
    source = {"type": "base64", "media_type": "image/png", "data": DOT}
    shown = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    if SEER:
        assert client.messages.create(model=SEER, max_tokens=4, messages=shown).usage.input_tokens > 16
    try:
        client.messages.create(model=TEXT, max_tokens=4, messages=shown)
    except anthropic.BadRequestError as error:
        assert "is a picture" in str(error)
    else:
        raise AssertionError("a model that reads text only has seen a picture")
    try:
        client.messages.create(model="nobody/none", max_tokens=4, messages=HELLO)
    except anthropic.NotFoundError as error:
        assert "nobody/none" in str(error)
    else:
        raise AssertionError("a model that is not there has answered")


if __name__ == "__main__":
    main()
