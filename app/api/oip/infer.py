"""One inference: tensors in, tensors out; a prediction like any other, waited for."""

from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.api.bodies import owner_of
from app.api.deps import base_url, caller_of
from app.api.model_calls.calls import Call, wait_for_all
from app.api.model_calls.failures import refused
from app.api.oip.calls import open_model_call, predict
from app.api.oip.errors import OipRoute, declared, refuse_tensor
from app.api.oip.tensor_bodies import answer_inference, read_inference
from app.api.oip.wire import InferOut
from app.domain.predictions import Prediction
from app.domain.tensor_signature import choose_outputs, input_from, tensors_from
from app.domain.tensors import Tensor, WrongTensor

router = APIRouter(dependencies=[Depends(caller_of)], tags=["OIP"], route_class=OipRoute)

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/InferIn"}}},
    }
}


async def infer(request: Request, model: str, version: str = "") -> Response:
    """Runs the model once and waits for its end; a caller that leaves cancels it. With the header
    `Inference-Header-Content-Length` the tensors' bytes follow the JSON, in requests and answers."""
    call = await open_model_call(request, model, version)
    body, tensors = await read_inference(request, owner_of(request, call.caller))
    own = body.model_inputs()
    if unknown := next((name for name in own if not call.takes(name)), None):
        raise refused(f"parameters.{unknown[:100]}", f"is no input of {call.version.model}")
    try:
        values = input_from(call.version.input_schema, tensors, own)
    except WrongTensor as wrong:
        refuse_tensor(wrong)
    (prediction,) = await wait_for_all(request, call, [await predict(call, values)])
    try:
        outputs = choose_outputs(
            output_tensors(request, call, prediction), [output.name for output in body.outputs]
        )
    except WrongTensor as wrong:
        refuse_tensor(wrong)
    head: dict[str, Any] = {
        **({"id": body.id} if body.id else {}),
        "model_name": model,
        "model_version": call.version.id,
        "parameters": {"prediction": prediction.id},
    }
    return await answer_inference(request, body, head, outputs)


def output_tensors(request: Request, call: Call, prediction: Prediction) -> list[Tensor]:
    """A prediction's output, its files as signed URLs."""
    view = call.services.view
    output = view.with_links(prediction.output, prediction.id, base_url(request))
    return tensors_from(output, is_text=call.version.streams)


for _path, _operation in (
    ("/v2/models/{model:path}/versions/{version}/infer", "oip.version.infer"),
    ("/v2/models/{model:path}/infer", "oip.infer"),
):
    router.add_api_route(
        _path,
        infer,
        methods=["POST"],
        operation_id=_operation,
        summary="Run a model on tensors",
        response_model=None,
        responses={200: {"model": InferOut}, **declared(400, 401, 403, 404, 413, 415)},
        openapi_extra=BODY,
    )
