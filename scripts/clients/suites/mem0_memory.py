"""mem0: memories, whose facts a model is asked for as a JSON object."""

import os

from mem0 import Memory

REQUIRES = ("mem0ai==2.2.1",)
CALLS = ("openai.chat.completions.create", "openai.embeddings.create")


def main() -> None:
    url, key, folder = os.environ["LOVAGE_URL"] + "/v1", os.environ["LOVAGE_KEY"], os.environ["SCRATCH"]
    text = {"model": os.environ["READER"], "openai_base_url": url, "api_key": key, "max_tokens": 100}
    embed = {"model": os.environ["EMBED"], "openai_base_url": url, "api_key": key, "embedding_dims": 384}
    store = {"path": f"{folder}/vectors", "embedding_model_dims": 384}
    memory = Memory.from_config(
        {
            "llm": {"provider": "openai", "config": text},
            "embedder": {"provider": "openai", "config": embed},
            "vector_store": {"provider": "qdrant", "config": store},
            "history_db_path": f"{folder}/history.db",
        }
    )
    memory.add("Lovage tastes like celery.", user_id="ada", infer=False)
    memory.add("A whale is a mammal.", user_id="ada")  # asks the model
    results = memory.search("Which herb tastes of celery?", filters={"user_id": "ada"})["results"]
    assert results[0]["memory"] == "Lovage tastes like celery."


if __name__ == "__main__":
    main()
