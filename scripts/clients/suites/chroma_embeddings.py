"""Chroma's embedding functions: OpenAI's shape, and a collection that is searched with it."""

import os

import chromadb
from chromadb.utils.embedding_functions import OpenAIEmbeddingFunction

REQUIRES = ("chromadb==1.5.9", "openai==3.52.0")
CALLS = ("openai.embeddings.create",)


def main() -> None:
    function = OpenAIEmbeddingFunction(
        api_key=os.environ["LOVAGE_KEY"],
        api_base=os.environ["LOVAGE_URL"] + "/v1",
        model_name=os.environ["EMBED"],
    )
    client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
    collection = client.create_collection("plants", embedding_function=function)
    texts = ["Lovage tastes like celery.", "A whale is a mammal.", "Trains leave at noon."]
    collection.add(ids=["a", "b", "c"], documents=texts)
    nearest = collection.query(query_texts=["Which herb tastes of celery?"], n_results=1)
    assert nearest["ids"] == [["a"]]


if __name__ == "__main__":
    main()
