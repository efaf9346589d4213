"""Jina's own client (its command's library) and haystack's for Jina, pointed at Lovage."""

import os

import httpx
from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.jina import JinaRanker
from jina_cli import api

REQUIRES = ("jina-cli==0.3.0", "jina-haystack==2.0.1")
CALLS = ("rerank.create",)
URL, RANKER = os.environ.get("LOVAGE_URL", ""), os.environ.get("RANKER", "")
TEXTS = ["A plant.", "A whale.", "Celery is a plant."]
QUERY = "What is celery?"


def main() -> None:
    own()
    haystack()


def own() -> None:
    """Its address stands in its module; neither an argument nor a variable changes it."""
    api.API_BASE = URL
    os.environ["JINA_API_KEY"] = os.environ["LOVAGE_KEY"]
    results = api.rerank(QUERY, TEXTS, model=RANKER, top_n=2)
    assert len(results) == 2
    assert results[0]["relevance_score"] >= results[1]["relevance_score"]
    assert {result["index"] for result in results} <= {0, 1, 2}
    try:
        api.rerank(QUERY, TEXTS, model="nobody/none")
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 404
        return
    raise AssertionError("a model that is not there has answered")


def haystack() -> None:
    key = Secret.from_token(os.environ["LOVAGE_KEY"])
    ranker = JinaRanker(model=RANKER, api_key=key, base_url=f"{URL}/v1/rerank", top_k=2)
    ranked = ranker.run(query=QUERY, documents=[Document(content=text) for text in TEXTS])["documents"]
    assert len(ranked) == 2
    assert ranked[0].score >= ranked[1].score


if __name__ == "__main__":
    main()
