"""llama-index: OpenAI-like models, embeddings of OpenAI's and TEI's shape, rerank, Replicate."""

import os

import openai
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.llms.openai_like import OpenAILike
from llama_index.llms.replicate import Replicate

REQUIRES = (
    "llama-index-llms-openai-like==0.8.1",
    "llama-index-embeddings-openai-like==0.4.0",
    "llama-index-embeddings-text-embeddings-inference==0.6.0",
    "llama-index-llms-replicate==0.7.0",
    "replicate==1.0.7",
)
CALLS = (
    "openai.chat.completions.create",
    "openai.completions.create",
    "openai.embeddings.create",
    "tei.model.embed",
    "models.predictions.create",
)
URL, KEY = os.environ.get("LOVAGE_URL", ""), os.environ.get("LOVAGE_KEY", "")
TEXT, CALLER, EMBED = (os.environ.get(name, "") for name in ("TEXT", "CALLER", "EMBED"))
HELLO = [ChatMessage(role="user", content="Hello")]


def turn(n: bool) -> bool:
    """Turns it round."""
    return not n


def main() -> None:
    place = {"api_base": URL + "/v1", "api_key": KEY}
    model = OpenAILike(model=TEXT, max_tokens=4, is_chat_model=True, **place)
    assert model.chat(HELLO).message.content
    assert "".join(part.delta or "" for part in model.stream_chat(HELLO))
    plain = OpenAILike(model=TEXT, max_tokens=4, is_chat_model=False, **place)
    assert plain.complete("The whale").text
    assert "".join(part.delta or "" for part in plain.stream_complete("The whale"))
    caller = OpenAILike(
        model=CALLER, max_tokens=200, is_chat_model=True, is_function_calling_model=True, **place
    )
    answer = caller.chat_with_tools([FunctionTool.from_defaults(turn)], "Add!", tool_required=True)
    assert set(caller.get_tool_calls_from_response(answer)[0].tool_kwargs) == {"n"}
    vectors()
    replicate()
    try:
        OpenAILike(model="nobody/none", is_chat_model=True, **place).chat(HELLO)
    except openai.NotFoundError:
        return
    raise AssertionError("a model that is not there has answered")


def vectors() -> None:
    model = OpenAILikeEmbedding(model_name=EMBED, api_base=URL + "/v1", api_key=KEY)
    tei = TextEmbeddingsInference(model_name=EMBED, base_url=f"{URL}/tei/{EMBED}", auth_token=KEY)
    for embedder in (model, tei):
        vector, *_ = embedder.get_text_embedding_batch(["a text", "another", " "])
        assert len(vector) == 384
        assert abs(sum(a * b for a, b in zip(vector, embedder.get_text_embedding("a text"))) - 1) < 1e-3


def replicate() -> None:
    """It sends `max_length` whatever the model is."""
    os.environ |= {"REPLICATE_API_TOKEN": KEY, "REPLICATE_BASE_URL": URL, "REPLICATE_API_BASE_URL": URL}
    model = Replicate(model=TEXT, prompt_key="prompt", additional_kwargs={"max_new_tokens": 4})
    assert model.complete("The whale").text


if __name__ == "__main__":
    main()
