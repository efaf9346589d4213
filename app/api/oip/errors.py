"""The Open Inference Protocol's error shape on its routes, from the same errors as everywhere else."""

from typing import Any, NoReturn

from pydantic import BaseModel

from app.api.error_shapes import oip_shape
from app.api.model_calls.edge_route import edge_route
from app.api.model_calls.failures import refused
from app.domain.tensors import WrongTensor


class OipErrorOut(BaseModel):
    """Every error of these routes."""

    error: str


OipRoute = edge_route(oip_shape)


def declared(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation that may answer with these errors."""
    return {
        code: {"description": "An error.", "model": OipErrorOut} for code in sorted({*codes, 429, 500, 503})
    }


def refuse_tensor(wrong: WrongTensor) -> NoReturn:
    """Raises InvalidRequest naming the tensor, with which the sentence begins."""
    name, _, sentence = str(wrong).partition(": ")
    raise refused(name, sentence) from None
