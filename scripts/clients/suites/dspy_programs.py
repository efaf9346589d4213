"""dspy: its model and its embedder."""

import os

import dspy

REQUIRES = ("dspy==3.4.1", "numpy==2.3.5")
CALLS = ("openai.chat.completions.create", "openai.embeddings.create")
TEXT, EMBED = os.environ.get("TEXT", ""), os.environ.get("EMBED", "")


def main() -> None:
    place = {"api_base": os.environ["LOVAGE_URL"] + "/v1", "api_key": os.environ["LOVAGE_KEY"]}
    model = dspy.LM(f"openai/{TEXT}", max_tokens=8, cache=False, **place)
    assert model("Hello")[0]
    assert model(messages=[{"role": "user", "content": "Hello"}], n=2, temperature=0.5)[1]
    embedder = dspy.Embedder(f"openai/{EMBED}", caching=False, **place)
    assert embedder(["a", "b"]).shape == (2, 384)
    try:
        dspy.LM("openai/nobody/none", cache=False, num_retries=0, **place)("Hello")
    except Exception as error:
        assert "nobody/none" in str(error), error
    else:
        raise AssertionError("a model that is not there has answered")


if __name__ == "__main__":
    main()
