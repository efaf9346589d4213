"""Reranking and embedding as RAG tools call them: the shapes of Cohere, Jina, TEI and vLLM, one rule for what
they may leave out."""

from collections.abc import Callable
from typing import Any

import pytest

from app.db import runtimes
from app.runtimes import schema

SCORES = [0.25, 0.75, 0.5]
TEXTS = ["a", "b", "c"]


@pytest.fixture
def ranker(database, ada) -> Callable[..., str]:
    """A model that takes what pair scoring takes and answers what it is told to."""
    inputs = schema.inputs(
        {
            "query": schema.text(""),
            "texts": schema.array({"type": "string"}, "", max_items=9),
            "pairs": schema.array({}, "", max_items=9),
            "raw_scores": schema.boolean("", default=False),
            "text": {},
            "top_k": schema.integer("", minimum=1, maximum=7),
            "prompt_name": schema.text(""),
            "answer": {"type": "array", "items": {}, "default": []},
        }
    )
    spec: dict[str, Any] = {
        "name": "ranker",
        "description": "",
        "inputs": {"": inputs},
        "outputs": {"": {}},
        "streams": False,
        "needs_source": False,
        "config": {},
    }
    with database.unit() as session:
        runtimes.put(session, {"ranker": spec})

    def make(*answer: Any) -> str:
        name = f"ranker{abs(hash(str(answer)))}"
        ada.model(name, runtime="ranker", input_schema={"properties": {"answer": {"default": list(answer)}}})
        return f"ada/{name}"

    return make


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
@pytest.mark.parametrize("documents", [TEXTS, [{"text": text} for text in TEXTS]])
def test_documents_come_back_sorted_and_cut(ada, worker, ranker, path, documents) -> None:
    body = {"model": ranker(*SCORES), "query": "q", "documents": documents, "top_n": 2}
    answer = ada.http.post(path, json={**body, "return_documents": True}).json()
    assert [(each["index"], each["relevance_score"]) for each in answer["results"]] == [(1, 0.75), (2, 0.5)]
    assert answer["results"][0]["document"] == {"text": "b"}
    plain = ada.http.post(path, json=body).json()
    assert "document" not in plain["results"][0]
    assert plain["usage"] == {"total_tokens": 3, "prompt_tokens": 3}


def test_texts_are_answered_as_tei_does_at_the_root_and_at_a_models_own_address(ada, worker, ranker) -> None:
    model = ranker(*SCORES)
    body = {"query": "q", "texts": TEXTS, "return_text": True, "raw_scores": True, "truncate": True}
    expected = [{"index": n, "score": SCORES[n], "text": TEXTS[n]} for n in (1, 2, 0)]
    assert ada.http.post("/rerank", json={**body, "model": model}).json() == expected
    assert ada.http.post(f"/tei/{model}/rerank", json=body).json() == expected
    (prediction, _) = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["raw_scores"] is True
    unnamed = ada.http.post("/rerank", json=body)
    assert unnamed.status_code == 404
    assert "MODEL_ALIASES=tei-rerank=" in unnamed.json()["message"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"documents": [{"title": "x"}]}, "documents.0: has no text"),
        ({"documents": ["x"], "texts": ["x"]}, "documents: stands for"),
        ({}, "documents: is required"),
        ({"documents": ["x"], "truncate": False}, "truncate: must be true"),
        ({"documents": ["x"], "wings": 2}, "wings: is neither"),
        ({"documents": ["x", "y"]}, "one score for each text"),
    ],
)
def test_what_cannot_be_reranked_is_refused_by_name(ada, worker, ranker, fields, words) -> None:
    body = {"model": ranker(*SCORES), "query": "q", **fields}
    answer = ada.http.post("/v1/rerank", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["message"] == answer.json()["detail"] == answer.json()["error"]


def test_fields_of_objects_may_be_chosen(ada, worker, ranker) -> None:
    documents = [{"title": text, "body": text.upper()} for text in TEXTS]
    body = {"model": ranker(*SCORES), "query": "q", "documents": documents, "rank_fields": ["title", "body"]}
    assert ada.http.post("/v1/rerank", json=body).status_code == 200
    (prediction,) = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["texts"] == ["a\nA", "b\nB", "c\nC"]


def test_pairs_are_scored_one_against_many_and_list_against_list(ada, worker, ranker) -> None:
    model = ranker(*SCORES)
    for first in ("q", ["q", "q", "q"]):
        answer = ada.http.post("/v1/score", json={"model": model, "text_1": first, "text_2": TEXTS}).json()
        assert [each["score"] for each in answer["data"]] == SCORES
    (prediction, _) = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["pairs"] == [["q", text] for text in TEXTS]
    uneven = ada.http.post("/v1/score", json={"model": model, "text_1": ["q", "r"], "text_2": TEXTS})
    assert (uneven.status_code, "text_2" in uneven.json()["message"]) == (400, True)


def test_embeddings_are_lists_of_numbers_at_tei_addresses(start_server, ada, worker, ranker) -> None:
    model = ranker([3.0, 4.0], [0.6, 0.8])
    expected = [[3.0, 4.0], [0.6, 0.8]]
    server = start_server(model_aliases=f"tei-embed={model}")
    assert ada.http.post(f"{server.url}/embed", json={"inputs": ["a", ""]}).json() == expected
    assert ada.http.post(f"/tei/{model}", json={"inputs": "a"}).json() == expected
    short = ada.http.post(f"/tei/{model}/embed", json={"inputs": "a", "dimensions": 1}).json()
    assert short == [[1.0], [1.0]], "scaled to length 1 again"
    similar = {"inputs": {"source_sentence": "a", "sentences": ["b"]}}
    assert ada.http.post(f"/tei/{model}/similarity", json=similar).json() == pytest.approx([1.0])
    refused = ada.http.post(f"/tei/{model}/embed", json={"inputs": "a", "normalize": False})
    assert (refused.status_code, "normalize" in refused.json()["error"]) == (400, True)


def test_every_token_has_a_vector_where_the_model_gives_them(ada, worker, ranker) -> None:
    tokens = [[1.0, 2.0], [3.0, 4.0]]
    answer = ada.http.post(f"/tei/{ranker(tokens)}/embed_all", json={"inputs": ["a", "b"]})
    assert answer.json() == [tokens, tokens]


def test_texts_are_classified_with_all_labels_the_likeliest_first(ada, worker, ranker) -> None:
    labels = [{"label": "bad", "score": 0.25}, {"label": "good", "score": 0.75}]
    model = ranker(*labels)
    assert ada.http.post(f"/tei/{model}/predict", json={"inputs": "a"}).json() == labels[::-1]
    assert ada.http.post(f"/tei/{model}/predict", json={"inputs": [["a"], "b"]}).json() == [labels[::-1]] * 2
    (prediction, *_) = ada.http.get("/v1/predictions").json()["results"]
    assert prediction["input"]["top_k"] == 7, "as many as the model can give"
    pair = ada.http.post(f"/tei/{model}/predict", json={"inputs": [["a", "b"]]})
    assert (pair.status_code, "pairs" in pair.json()["error"]) == (400, True)


def test_a_models_address_says_what_it_is_and_errors_have_one_shape(ada, anonymous, ranker) -> None:
    model = ranker(1.0)
    info = ada.http.get(f"/tei/{model}/info").json()
    assert (info["model_id"], set(info["model_type"])) == (model, {"reranker"})
    for answer in (anonymous.get(f"/tei/{model}/info"), ada.http.get("/tei/ada/none/info")):
        assert set(answer.json()) == {"message", "detail", "error", "error_type"}
    assert ada.http.put("/rerank").json()["message"], "so has what no route answers"
