"""The one shape of errors; what no request may do is in tests/abuse."""

import json


def test_an_error_names_the_request_and_an_own_id_is_kept(ada):
    assert ada.http.get("/v1/nothing", headers={"X-Request-Id": "abc-1"}).json()["request_id"] == "abc-1"
    odd = ada.http.get("/v1/nothing", headers={"X-Request-Id": "a b\t<script>"})
    assert odd.json()["request_id"] not in ("a b\t<script>", None)
    assert odd.json()["request_id"] == odd.headers["x-request-id"]
    assert odd.status_code == 404


def test_a_wrong_method_is_named(ada):
    assert ada.http.put("/v1/predictions", json={}).status_code == 405


def test_an_error_never_repeats_a_long_name(ada, echo):
    for body in (
        {"version": "x" * 100_000, "input": {}},
        {"version": "ada/echo", "input": {"k" * 100_000: 1}},
    ):
        headers = {"Content-Type": "application/json", "Prefer": "handling=strict"}
        answer = ada.http.post("/v1/predictions", content=json.dumps(body), headers=headers)
        assert (answer.status_code, len(answer.text) < 5_000) == (422, True)
