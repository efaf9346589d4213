"""The Python client under the contract: a JSON object a line in, a JSON object a line out, as
clients/cpp/contract/contract.cpp has it. Knows no case."""

import json
import ssl
import sys
from contextlib import closing
from typing import Any

from lovage import Client, LovageError, Prediction, SessionInfo, Tensor, Tls
from lovage.placement import Options
from lovage.worker import Worker

Json = dict[str, Any]
OPTIONS = ("model", "device", "task", "affinity", "records")


def ask(wish: Json) -> SessionInfo:
    """A session, from the platform."""
    options = Options(**{name: wish[name] for name in OPTIONS if name in wish})
    verify = ssl.create_default_context(cafile=wish["tls"]["ca"]) if wish.get("tls") else True
    with Client(wish["url"], wish["key"], verify=verify) as client:
        body = options.body(wish.get("exclude", []))
        return SessionInfo.from_json(client.request("POST", "/v1/sessions", json=body))


def shown(prediction: Prediction) -> Json:
    return {
        "status": prediction.status,
        "output": prediction.output,
        "error": prediction.error or "",
        "error_code": prediction.error_code or "",
        "model": prediction.model,
        "version": prediction.version,
    }


def predict(worker: Worker, arguments: Json) -> Json:
    return shown(worker.predict(arguments["input"], arguments.get("timeout", 0.0)))


def stream(worker: Worker, arguments: Json) -> Json:
    kinds, numbers, pieces, ids = [], [], [], []
    end = None
    with closing(worker.stream(arguments["input"], arguments.get("timeout", 0.0))) as events:
        for event in events:
            kinds.append(event.kind)
            numbers.append(event.number)
            ids.append(event.id)
            if event.kind == "output":
                pieces.append(event.data)
                if len(pieces) == arguments.get("cancel_after"):
                    worker.cancel(event.id)
                if len(pieces) == arguments.get("leave_after"):
                    break
            if event.prediction:
                end = shown(event.prediction)
    return {"id": ids[-1], "kinds": kinds, "numbers": numbers, "pieces": pieces, "end": end}


def infer(worker: Worker, arguments: Json) -> Json:
    inputs = [
        Tensor.of(each["name"], each["datatype"], each["values"], each.get("shape"))
        for each in arguments["inputs"]
    ]
    outputs = {
        name: {"datatype": out.datatype, "shape": list(out.shape), "values": out.values}
        for name, out in worker.infer(inputs).items()
    }
    return {"outputs": outputs}


def cancel(worker: Worker, arguments: Json) -> Json:
    return {"found": worker.cancel(arguments["id"])}


def pairs(worker: Worker, arguments: Json) -> Json:
    return {"scores": worker.score([(query, text) for query, text in arguments["pairs"]])}


CALLS = {"predict": predict, "stream": stream, "infer": infer, "cancel": cancel, "pairs": pairs}


def carry_out(order: Json) -> Json:
    info = SessionInfo.from_json(order["session"]) if "session" in order else ask(order["ask"])
    if order["call"] == "ask":
        sha256 = info.certificate_sha256 or ""
        return {"tls": info.tls, "model": info.model, "certificate_sha256": sha256}
    with Worker(info, Tls(**order.get("tls", {})), order.get("seconds", 60.0)) as worker:
        return CALLS[order["call"]](worker, order.get("arguments", {}))


def answer(order: Json) -> Json:
    try:
        return {"answer": carry_out(order)}
    except LovageError as error:
        return {"error": {"code": error.code, "sentence": str(error), "retry_after": error.retry_after}}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
