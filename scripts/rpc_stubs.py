"""Makes app/rpc/stubs of app/rpc/protos. A test fails when they differ: python -m scripts.rpc_stubs"""

import sys
from pathlib import Path

PROTOS = Path(__file__).parents[1] / "app" / "rpc" / "protos"
STUBS = PROTOS.with_name("stubs")


def make(target: Path) -> None:
    """Writes the stubs, and their types, into a folder."""
    from grpc_tools import protoc

    files = sorted(file.name for file in PROTOS.glob("*.proto"))
    command = ["protoc", f"-I{PROTOS}", f"--python_out={target}", f"--pyi_out={target}", *files]
    if status := protoc.main(command):
        sys.exit(status)


if __name__ == "__main__":
    make(STUBS)
