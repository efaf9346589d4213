"""Cohere's own clients, of both versions of its API."""

import os

import cohere

REQUIRES = ("cohere==7.3.1",)
CALLS = ("rerank.create", "rerank.cohere")
DOCUMENTS = ["A plant.", "A whale.", "Celery is a plant."]


def main() -> None:
    place = {"api_key": os.environ["LOVAGE_KEY"], "base_url": os.environ["LOVAGE_URL"]}
    asked = {"model": os.environ["RANKER"], "query": "What is celery?", "documents": DOCUMENTS, "top_n": 2}
    for client in (cohere.Client(**place), cohere.ClientV2(**place)):
        results = client.rerank(**asked).results
        assert len(results) == 2
        assert results[0].relevance_score >= results[1].relevance_score
        try:
            client.rerank(**{**asked, "model": "nobody/none"})
        except cohere.NotFoundError as error:
            assert "nobody/none" in str(error)
        else:
            raise AssertionError("a model that is not there has answered")


if __name__ == "__main__":
    main()
