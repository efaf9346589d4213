"""A model of the runtime `python`: sorts texts by how near they are to a query, by words that they share.

`lovage models add path:$PWD/examples/models/sorter --name sorter --runtime python`
"""

from pathlib import Path

from lovage import Context

ORDERS = {"nearest": True, "farthest": False}


class Predictor:
    def setup(self) -> None:
        """Called once, when the model is loaded; weights beside this file are read here."""
        self.stop_words = set(Path(__file__).with_name("stop_words.txt").read_text().split())

    def words(self, text: str) -> set[str]:
        return set(text.lower().split()) - self.stop_words

    def predict(
        self, query: str, texts: list[str], context: Context, order: str = "nearest", top: int | None = None
    ) -> list[str]:
        """Its signature is the model's input; what it prints is in the prediction's logs."""
        wanted, scores = self.words(query), []
        for number, text in enumerate(texts, 1):
            scores.append(len(wanted & self.words(text)))
            context.progress(number, len(texts))
        context.metric("words", len(wanted))
        print(f"{len(texts)} texts")
        ranked = sorted(zip(scores, texts, strict=True), key=lambda pair: pair[0], reverse=ORDERS[order])
        return [text for _, text in ranked][:top]
