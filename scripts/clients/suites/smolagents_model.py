"""smolagents: its OpenAI model, with tools and in a stream."""

import os

from smolagents import OpenAIModel, tool

REQUIRES = ("smolagents[openai]==1.26.0",)
CALLS = ("openai.chat.completions.create",)
HELLO = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]


@tool
def turn(n: bool) -> bool:
    """Turns it round.

    Args:
        n: What is turned.
    """
    return not n


def main() -> None:
    place = {"api_base": os.environ["LOVAGE_URL"] + "/v1", "api_key": os.environ["LOVAGE_KEY"]}
    model = OpenAIModel(os.environ["TEXT"], max_tokens=4, **place)
    assert model.generate(HELLO).content
    assert "".join(part.content or "" for part in model.generate_stream(HELLO))
    caller = OpenAIModel(os.environ["CALLER"], max_tokens=300, **place)
    call = caller.generate(HELLO, tools_to_call_from=[turn], parallel_tool_calls=False).tool_calls[0]
    assert call.function.name == "turn"
    try:
        OpenAIModel("nobody/none", **place).generate(HELLO)
    except Exception as error:
        assert "nobody/none" in str(error), error
    else:
        raise AssertionError("a model that is not there has answered")


if __name__ == "__main__":
    main()
