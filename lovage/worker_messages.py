"""What is said to a worker, as messages: app/rpc/protos. Needs protobuf; opens no connection."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.rpc.stubs import inference_pb2 as inference
from app.rpc.stubs import predictions_pb2 as predictions
from lovage.errors import Unreachable
from lovage.tensors import Tensor
from lovage.values import Event, Prediction, SessionInfo

PREDICTIONS, INFERENCE = "/lovage.v1.Predictions/", "/inference.GRPCInferenceService/"
PREDICT, STREAM = PREDICTIONS + "Predict", PREDICTIONS + "PredictStream"
CANCEL, SCORE, INFER = PREDICTIONS + "Cancel", PREDICTIONS + "Infer", INFERENCE + "ModelInfer"


def predict_request(
    info: SessionInfo, values: Mapping[str, Any], timeout: float
) -> predictions.PredictRequest:
    """`timeout`: seconds of running, 0: the version's own."""
    text = json.dumps(dict(values)).encode()
    return predictions.PredictRequest(
        model=info.model, version=info.version, input_json=text, timeout_seconds=timeout
    )


def read_prediction(message: predictions.PredictResponse) -> Prediction:
    """One that has ended."""
    return Prediction(
        message.id,
        message.model,
        message.version,
        message.status,
        _read(message.output_json),
        message.error or None,
        message.error_code or None,
        _read(message.metrics_json) or {},
    )


def read_event(message: predictions.PredictEvent, number: int) -> Event:
    """The one that should have this number. Raises Unreachable when it has another."""
    if message.seq != number:
        raise Unreachable("an event of the stream is missing", code="data_loss")
    prediction = read_prediction(message.end) if message.HasField("end") else None
    kind: Any = message.kind
    return Event(number, kind, _read(message.data_json), prediction, message.id)


def score_request(info: SessionInfo, pairs: Sequence[tuple[str, str]]) -> predictions.InferPairsRequest:
    """Pairs of (query, text)."""
    request = predictions.InferPairsRequest(model=info.model, version=info.version)
    for query, text in pairs:
        request.pairs.add(query=query, text=text)
    return request


def infer_request(info: SessionInfo, inputs: Sequence[Tensor]) -> inference.ModelInferRequest:
    """With the tensors as raw bytes."""
    request = inference.ModelInferRequest(model_name=info.model, model_version=info.version)
    for tensor in inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(tensor.raw)
    return request


def read_outputs(message: inference.ModelInferResponse) -> dict[str, Tensor]:
    """By name."""
    raws = zip(message.outputs, message.raw_output_contents, strict=True)
    return {out.name: Tensor(out.name, out.datatype, tuple(out.shape), raw) for out, raw in raws}


def _read(text: bytes) -> Any:
    return json.loads(text) if text else None
