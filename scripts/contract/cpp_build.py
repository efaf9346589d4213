"""Configures and builds clients/cpp. Knows which of Debian's packages it needs, and says so when one is
missing."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE, BUILD = ROOT / "clients" / "cpp", ROOT / "build" / "cpp"
HEADERS = Path("/usr/include")
# By what shows that each is there.
PACKAGES = {
    "cmake": "cmake",
    "c++": "g++",
    "protoc": "protobuf-compiler",
    "grpc_cpp_plugin": "protobuf-compiler-grpc",
    "google/protobuf/message.h": "libprotobuf-dev",
    "grpcpp/grpcpp.h": "libgrpc++-dev",
    "curl/curl.h": "libcurl4-openssl-dev",
    "openssl/ssl.h": "libssl-dev",
    "nlohmann/json.hpp": "nlohmann-json3-dev",
}
EXIT_MISSING = 3


def list_missing() -> list[str]:
    """Debian's packages that are not there."""
    return [package for what, package in PACKAGES.items() if not _is_there(what)]


def _is_there(what: str) -> bool:
    if not what.endswith((".h", ".hpp")):
        return shutil.which(what) is not None
    return (HEADERS / what).exists() or any(HEADERS.glob(f"*-linux-gnu/{what}"))


def build(folder: Path = BUILD) -> Path:
    """The program that speaks the contract. Raises SystemExit with a sentence."""
    if missing := list_missing():
        print(f"The C++ client needs packages that are not there: apt-get install {' '.join(missing)}")
        raise SystemExit(EXIT_MISSING)
    folder.mkdir(parents=True, exist_ok=True)
    for command in (
        ["cmake", "-S", str(SOURCE), "-B", str(folder)],
        ["cmake", "--build", str(folder), "--parallel"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print((done.stdout + done.stderr)[-8_000:])
            raise SystemExit(f"{' '.join(command)} failed")
    return folder / "lovage_contract"
