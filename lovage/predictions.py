"""Predictions over HTTP, step by step."""

from collections.abc import Mapping
from typing import Any

from lovage.flow import Flow, Request, create, send
from lovage.values import Prediction

WAIT_SECONDS = 60  # the longest that one request waits


def begin(
    model: str, values: Mapping[str, Any], *, wait: float = 0, strict: bool = False, **fields: Any
) -> Flow[Prediction]:
    """Makes one; waits for its end for so many seconds."""
    wishes = [f"wait={int(min(wait, WAIT_SECONDS))}"] if wait >= 1 else []
    wishes += ["handling=strict"] if strict else []
    headers = {"Prefer": ", ".join(wishes)} if wishes else {}
    body = {"version": model, "input": dict(values), **fields}
    data = yield from send(create("/v1/predictions", body, headers=headers, seconds=wait + 30))
    return Prediction.from_json(data)


def finish(prediction: Prediction) -> Flow[Prediction]:
    """Waits for its end, however long that takes."""
    while not prediction.has_ended:
        path = f"/v1/predictions/{prediction.id}"
        headers = {"Prefer": f"wait={WAIT_SECONDS}"}
        data = yield from send(Request("GET", path, headers=headers, seconds=WAIT_SECONDS + 30))
        prediction = Prediction.from_json(data)
    return prediction


def predict(model: str, values: Mapping[str, Any], **fields: Any) -> Flow[Prediction]:
    """Makes one and waits for its end."""
    prediction = yield from begin(model, values, wait=WAIT_SECONDS, **fields)
    return (yield from finish(prediction))


def get(prediction_id: str) -> Flow[Prediction]:
    """As it is now."""
    data = yield from send(Request("GET", f"/v1/predictions/{prediction_id}"))
    return Prediction.from_json(data)


def cancel(prediction_id: str) -> Flow[Prediction]:
    """Stops it; one that has ended is answered as it is."""
    data = yield from send(Request("POST", f"/v1/predictions/{prediction_id}/cancel", may_repeat=True))
    return Prediction.from_json(data)
