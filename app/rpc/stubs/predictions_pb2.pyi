from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PredictRequest(_message.Message):
    __slots__ = ("model", "version", "input_json", "timeout_seconds")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    input_json: bytes
    timeout_seconds: float
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., input_json: _Optional[bytes] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("id", "model", "version", "status", "output_json", "error", "error_code", "metrics_json")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_JSON_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    METRICS_JSON_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    version: str
    status: str
    output_json: bytes
    error: str
    error_code: str
    metrics_json: bytes
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., status: _Optional[str] = ..., output_json: _Optional[bytes] = ..., error: _Optional[str] = ..., error_code: _Optional[str] = ..., metrics_json: _Optional[bytes] = ...) -> None: ...

class PredictEvent(_message.Message):
    __slots__ = ("seq", "kind", "data_json", "id", "end")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATA_JSON_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    seq: int
    kind: str
    data_json: bytes
    id: str
    end: PredictResponse
    def __init__(self, seq: _Optional[int] = ..., kind: _Optional[str] = ..., data_json: _Optional[bytes] = ..., id: _Optional[str] = ..., end: _Optional[_Union[PredictResponse, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: bool
    def __init__(self, found: _Optional[bool] = ...) -> None: ...

class InferPairsRequest(_message.Message):
    __slots__ = ("model", "version", "pairs")
    class Pair(_message.Message):
        __slots__ = ("query", "text")
        QUERY_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        query: str
        text: str
        def __init__(self, query: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    pairs: _containers.RepeatedCompositeFieldContainer[InferPairsRequest.Pair]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., pairs: _Optional[_Iterable[_Union[InferPairsRequest.Pair, _Mapping]]] = ...) -> None: ...

class InferPairsResponse(_message.Message):
    __slots__ = ("id", "scores")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    id: str
    scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, id: _Optional[str] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...
