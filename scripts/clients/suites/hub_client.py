"""Hugging Face's InferenceClient, as it calls text-embeddings-inference."""

import os

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

REQUIRES = ("huggingface-hub==2.4.0", "numpy==2.3.5")
CALLS = ("tei.model.root", "tei.model.predict", "tei.model.similarity", "openai.chat.completions.create")
URL = os.environ.get("LOVAGE_URL", "")
TEXT, EMBED, MODERATOR = (os.environ.get(name, "") for name in ("TEXT", "EMBED", "MODERATOR"))


def main() -> None:
    key = os.environ["LOVAGE_KEY"]

    def client(address: str) -> InferenceClient:
        return InferenceClient(model=f"{URL}/tei/{address}", token=key)

    assert client(EMBED).feature_extraction("a text").shape == (1, 384)
    scores = client(f"{EMBED}/similarity").sentence_similarity(
        "a plant", other_sentences=["a herb", "a train"]
    )
    assert scores[0] > scores[1]
    # the first of TEI's list
    likeliest = client(f"{MODERATOR}/predict").text_classification("a text")
    assert likeliest.label in {"toxic", "neutral"}
    chat = InferenceClient(base_url=f"{URL}/v1", api_key=key)
    hello = [{"role": "user", "content": "Hello"}]
    assert chat.chat_completion(hello, model=TEXT, max_tokens=4).choices[0].message.content
    assert list(chat.chat_completion(hello, model=TEXT, max_tokens=4, stream=True))
    try:
        client("nobody/none").feature_extraction("a text")
    except HfHubHTTPError as error:
        assert error.response.status_code == 404
    else:
        raise AssertionError("a model that is not there has answered")


if __name__ == "__main__":
    main()
