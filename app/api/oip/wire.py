"""Requests and answers of the Open Inference Protocol as JSON."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.api.model_calls.failures import refused
from app.domain.tensors import MOST_DIMENSIONS

Parameters = dict[str, Any]
Name = Annotated[str, Field(min_length=1, max_length=300)]
MOST_TENSORS = 1_000
# What Triton's clients may send, and what changes nothing where it has this value.
WITHOUT_EFFECT = {
    "sequence_id": (0, ""),
    "sequence_start": (False,),
    "sequence_end": (False,),
    "priority": (0,),
    "triton_enable_empty_final_response": (False, True),
}


class InputTensorIn(BaseModel):
    """`data` is flat, or nested as the shape is; or it follows the JSON as bytes
    (`parameters.binary_data_size`)."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    datatype: str = Field(max_length=40, examples=["BYTES"])
    shape: list[int] = Field(max_length=MOST_DIMENSIONS)
    parameters: Parameters = Field({}, max_length=100)
    data: list[Any] | None = None


class OutputTensorIn(BaseModel):
    """An output that is wanted; `parameters.binary_data`: as bytes behind the JSON."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    parameters: Parameters = Field({}, max_length=100)


class InferIn(BaseModel):
    """One prediction: a tensor for each input. `parameters` may hold inputs of the model, too."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["hello"]}]}]
        },
    )

    id: str | None = Field(None, max_length=300, description="Comes back in the answer.")
    parameters: Parameters = Field({}, max_length=100)
    inputs: list[InputTensorIn] = Field(max_length=MOST_TENSORS)
    outputs: list[OutputTensorIn] = Field([], max_length=MOST_TENSORS, description="Empty: all.")

    def model_inputs(self) -> Parameters:
        """Inputs of the model among the parameters. Raises InvalidRequest for what cannot be had."""
        return model_inputs(self.parameters)

    def binary_outputs(self, name: str) -> bool:
        """Whether this output is wanted as bytes."""
        wish = next((output.parameters for output in self.outputs if output.name == name), {})
        return bool(wish.get("binary_data", self.parameters.get("binary_data_output", False)))


def model_inputs(parameters: Parameters) -> Parameters:
    """What is left of a request's parameters when those of the protocol are looked at. Raises
    InvalidRequest."""
    for name, harmless in WITHOUT_EFFECT.items():
        if name in parameters and parameters[name] not in harmless:
            raise refused(f"parameters.{name}", "is not supported: each request is a prediction of its own")
    own = (*WITHOUT_EFFECT, "binary_data_output")
    return {name: value for name, value in parameters.items() if name not in own}


class TensorOut(BaseModel):
    """`data` is flat, in row-major order; left out where it follows as bytes."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[Any] | None = None


class InferOut(BaseModel):
    """`model_version` is the version's id, `parameters.prediction` the prediction's."""

    id: str | None = None
    model_name: str
    model_version: str
    parameters: Parameters
    outputs: list[TensorOut]


class ServerOut(BaseModel):
    """What answers here."""

    name: str
    version: str
    extensions: list[str]


class LiveOut(BaseModel):
    live: bool


class TensorReadyOut(BaseModel):
    ready: bool


class ModelReadyOut(BaseModel):
    """`ready`: a worker has the model, or could load it."""

    name: str
    ready: bool


class TensorMetadataOut(BaseModel):
    """-1 in a shape is any size."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None


class TensorModelOut(BaseModel):
    """A model's tensors, by its input and output schema."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadataOut]
    outputs: list[TensorMetadataOut]


class RepositoryIn(BaseModel):
    """Which models are listed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}, {"ready": True}]})

    ready: bool = Field(False, description="Only those that a worker has ready.")
    repository_name: str = Field("", max_length=300, description="Only empty: there is one repository.")

    def check(self) -> None:
        """Raises InvalidRequest."""
        if self.repository_name:
            raise refused("repository_name", "must be empty: there is one repository")


class IndexedModelOut(BaseModel):
    """`state` is READY or UNAVAILABLE; `reason` says why it is not ready."""

    name: str
    version: str
    state: str
    reason: str


class LoadIn(BaseModel):
    """Nothing of Triton's overriding configurations: a model's configuration is its version's."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})

    parameters: Parameters = Field({}, max_length=100, description="Only `unload_dependents`: false.")

    def check(self) -> None:
        """Raises InvalidRequest naming what would be ignored."""
        for name, value in self.parameters.items():
            if name != "unload_dependents" or value:
                raise refused(f"parameters.{name[:100]}", "is not supported: register a version instead")
