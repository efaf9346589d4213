"""Tensors of the Open Inference Protocol: bytes, shapes, and what they are to a model's schemas."""

import struct

import pytest

from app.domain.tensor_signature import (
    choose_outputs,
    describe_inputs,
    describe_outputs,
    input_from,
    tensors_from,
)
from app.domain.tensors import DATATYPES, Tensor, WrongTensor, decode_raw, encode_raw, flatten, nest

SCHEMA = {
    "properties": {
        "text": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "messages": {"type": "array", "items": {"type": "object"}},
        "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "grid": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
        "options": {"type": "object"},
    },
    "required": ["text"],
}


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_keeps_its_values_through_bytes(datatype) -> None:
    values = {"BYTES": ["", "héllo", "x" * 300], "BOOL": [True, False]}.get(datatype, [0, 1, 100])
    raw = encode_raw(Tensor("x", datatype, (len(values),), values))
    assert decode_raw(datatype, raw) == values


def test_bytes_are_little_endian_and_texts_have_their_length_before_them() -> None:
    assert encode_raw(Tensor("x", "INT32", (1,), [1])) == b"\x01\x00\x00\x00"
    assert encode_raw(Tensor("x", "FP16", (1,), [1.0])) == struct.pack("<e", 1.0)
    assert encode_raw(Tensor("x", "BYTES", (2,), ["ab", ""])) == b"\x02\x00\x00\x00ab\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("datatype", "raw", "words"),
    [
        ("FP32", b"123", "no multiple of 4"),
        ("BYTES", b"\x05\x00\x00\x00ab", "an element of 5 bytes, of which 2 are there"),
        ("BYTES", b"\x05\x00", "amid the length"),
        ("BYTES", b"\x01\x00\x00\x00\xff", "UTF-8"),
        ("BF16", b"12", "has the datatype 'BF16'"),
    ],
)
def test_bytes_that_are_no_tensor_are_refused_with_the_reason(datatype, raw, words) -> None:
    with pytest.raises(WrongTensor, match=words):
        decode_raw(datatype, raw)


@pytest.mark.parametrize("value", [1, [1, 2], [[1, 2], [3, 4]], [[[1]], [[2]]], [], [[], []]])
def test_lists_come_back_from_their_flat_form(value) -> None:
    shape, data = flatten(value)
    assert nest(data, shape) == value


def test_lists_of_different_lengths_are_no_tensor() -> None:
    assert flatten([[1], [1, 2]]) is None
    assert flatten([1, [2]]) is None


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        (Tensor("text", "BYTES", (1,), ["a"]), "a"),
        (Tensor("text", "BYTES", (1, 1), ["a"]), ["a"]),
        (Tensor("text", "BYTES", (2,), ["a", "b"]), ["a", "b"]),
        (Tensor("text", "BYTES", (2, 1), ["a", "b"]), ["a", "b"]),
        (Tensor("seed", "INT64", (1, 1), [7]), 7),
        (Tensor("seed", "INT64", (), [7]), 7),
        (Tensor("grid", "FP32", (1, 2), [1.0, 2.0]), [[1.0, 2.0]]),
        (Tensor("messages", "BYTES", (1,), ['{"role": "user"}']), [{"role": "user"}]),
        (Tensor("options", "BYTES", (1,), ['{"a": 1}']), {"a": 1}),
    ],
)
def test_a_tensor_becomes_what_its_input_takes(tensor, value) -> None:
    assert input_from(SCHEMA, [tensor], {}) == {tensor.name: value}


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([Tensor("seed", "INT64", (2,), [1, 2])], r"seed: has the shape \[2\]; the input takes one element"),
        ([Tensor("text", "BYTES", (2,), ["a"])], "text: has 1 elements"),
        ([Tensor("seed", "INT64", (1,), [1])] * 2, "seed: is given twice"),
        ([Tensor("options", "BYTES", (1,), ["{"])], "options: must hold JSON"),
        ([Tensor("text", "BYTES", (-1,), ["a"])], "every size must be known"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_its_name(tensors, words) -> None:
    with pytest.raises(WrongTensor, match=words):
        input_from(SCHEMA, tensors, {})


def test_a_graph_takes_tensors_by_its_own_names() -> None:
    schema = {"properties": {"tensors": {"type": "object"}}, "required": ["tensors"]}
    tensors = [Tensor("x", "FP32", (1, 2), [1.0, 2.0]), Tensor("n", "INT64", (1,), [3])]
    assert input_from(schema, tensors, {}) == {"tensors": {"x": [[1.0, 2.0]], "n": [3]}}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("hi", [("output", "BYTES", (1,), ["hi"])]),
        ([0.5, 1], [("output", "FP32", (2,), [0.5, 1])]),
        ([[1, 2], [3, 4]], [("output", "INT64", (2, 2), [1, 2, 3, 4])]),
        ([1e300], [("output", "FP64", (1,), [1e300])]),
        ([True], [("output", "BOOL", (1,), [True])]),
        ({"a": [1], "b": "x"}, [("a", "INT64", (1,), [1]), ("b", "BYTES", (1,), ["x"])]),
        ([{"l": 1}], [("output", "BYTES", (1,), ['{"l":1}'])]),
        ([[1], [1, 2]], [("output", "BYTES", (1,), ["[[1],[1,2]]"])]),
        (None, [("output", "BYTES", (1,), ["null"])]),
    ],
)
def test_an_output_becomes_tensors(output, expected) -> None:
    tensors = tensors_from(output)
    assert [(each.name, each.datatype, each.shape, each.data) for each in tensors] == expected


def test_the_pieces_of_a_text_are_one_element_and_a_list_of_texts_stays_a_list() -> None:
    assert tensors_from(["a", "b"], is_text=True)[0].data == ["ab"]
    assert tensors_from(["a", "b"])[0].shape == (2,)


def test_only_outputs_that_are_there_can_be_chosen() -> None:
    tensors = tensors_from({"a": [1], "b": [2]})
    assert [each.name for each in choose_outputs(tensors, ["b"])] == ["b"]
    with pytest.raises(WrongTensor, match="z: is not an output; there are a, b"):
        choose_outputs(tensors, ["z"])


def test_schemas_are_described_as_tensors() -> None:
    described = {each.name: (each.datatype, each.shape, each.optional) for each in describe_inputs(SCHEMA)}
    assert described == {
        "text": ("BYTES", (1,), False),
        "messages": ("BYTES", (-1,), True),
        "seed": ("INT64", (1,), True),
        "grid": ("FP32", (-1, -1), True),
        "options": ("BYTES", (1,), True),
    }
    vector = {"type": "array", "items": {"type": "number"}}
    assert describe_outputs({"anyOf": [vector]}, streams=False)[0].shape == (-1,)
    text = {"type": "array", "items": {"type": "string"}, "x-cog-array-display": "concatenate"}
    assert describe_outputs(text, streams=True)[0].shape == (1,)
