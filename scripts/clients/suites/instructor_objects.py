"""instructor: objects by tools, by JSON and by a schema; streamed, too."""

import asyncio
import os

import instructor
import openai
from pydantic import BaseModel, Field

REQUIRES = ("instructor==1.17.0",)
CALLS = ("openai.chat.completions.create",)
HELLO = [{"role": "user", "content": "Hello"}]

ONE_CALL = {"parallel_tool_calls": False}  # a model without sense would go on calling


class Number(BaseModel):
    """A number."""

    n: int = Field(ge=0, le=9)


def main() -> None:
    place = {"base_url": os.environ["LOVAGE_URL"] + "/v1", "api_key": os.environ["LOVAGE_KEY"]}
    client = openai.OpenAI(**place)
    asked = {"model": os.environ["CALLER"], "messages": HELLO, "max_tokens": 200, "extra_body": ONE_CALL}
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        patched = instructor.from_openai(client, mode=mode)
        assert patched.chat.completions.create(response_model=Number, **asked).n <= 9
        *_, last = patched.chat.completions.create_partial(response_model=Number, **asked)
        assert last.n <= 9
    beside = instructor.from_openai(openai.AsyncOpenAI(**place))
    assert asyncio.run(beside.chat.completions.create(response_model=Number, **asked)).n <= 9
    try:
        patched.chat.completions.create(
            model="nobody/none", messages=HELLO, response_model=Number, max_retries=0
        )
    except Exception as error:
        assert "nobody/none" in str(error), error
    else:
        raise AssertionError("a model that is not there has answered")


if __name__ == "__main__":
    main()
