"""langchain's embeddings with its defaults, and its rerank."""

import importlib.util
import os
from pathlib import Path

import openai
from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from langchain_openai import OpenAIEmbeddings

# litellm is here for its copy of the file that tiktoken would fetch from another host.
REQUIRES = ("langchain-openai==1.7.4", "langchain-cohere==0.6.0", "litellm==1.110.2")
CALLS = ("openai.embeddings.create", "rerank.cohere")
URL, KEY = (os.environ.get(name, "") for name in ("LOVAGE_URL", "LOVAGE_KEY"))
EMBED, RANKER = (os.environ.get(name, "") for name in ("EMBED", "RANKER"))


def main() -> None:
    os.environ["TIKTOKEN_CACHE_DIR"] = str(tokenizers())
    try:
        OpenAIEmbeddings(model=EMBED, base_url=f"{URL}/v1", api_key=KEY).embed_query("a text")
    except openai.BadRequestError as error:
        assert "check_embedding_ctx_length" in str(error), error
    else:
        raise AssertionError("ids of another tokenizer were taken")
    reranker = CohereRerank(model=RANKER, base_url=URL, cohere_api_key=KEY, top_n=2)
    documents = [Document("A plant."), Document("A whale."), Document("")]
    ranked = reranker.compress_documents(documents, "What is celery?")
    assert len(ranked) == 2
    assert "relevance_score" in ranked[0].metadata


def tokenizers() -> Path:
    found = importlib.util.find_spec("litellm")
    assert found
    assert found.origin
    return Path(found.origin).parent / "litellm_core_utils" / "tokenizers"


if __name__ == "__main__":
    main()
