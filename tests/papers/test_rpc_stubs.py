"""The committed stubs of gRPC are those that protoc makes of the protos."""

from pathlib import Path

from scripts.rpc_stubs import STUBS, make


def test_the_committed_stubs_are_current(tmp_path: Path) -> None:
    make(tmp_path)
    for made in tmp_path.iterdir():
        assert made.read_text() == (STUBS / made.name).read_text(), "run: python -m scripts.rpc_stubs"
