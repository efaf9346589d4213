"""Configures and builds clients/cpp. Knows which of Debian's packages it needs, and says so when one is
missing."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE, BUILD = ROOT / "clients" / "cpp", ROOT / "build" / "cpp-contract"
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
PROGRAMS = ("lovage_contract", "lovage_example")
# Half a minute of processor time instead of a whole one: nothing optimised, each header read once.
CHEAP = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0", "-DCMAKE_UNITY_BUILD=ON")


def list_missing() -> list[str]:
    """Debian's packages that are not there."""
    return [package for what, package in PACKAGES.items() if not _is_there(what)]


def _is_there(what: str) -> bool:
    if not what.endswith((".h", ".hpp")):
        return shutil.which(what) is not None
    return (HEADERS / what).exists() or any(HEADERS.glob(f"*-linux-gnu/{what}"))


def build(folder: Path = BUILD) -> tuple[Path, Path]:
    """The program that speaks the contract, and the example; what was built before is kept. Raises SystemExit
    with what the compiler says."""
    folder.mkdir(parents=True, exist_ok=True)
    at_once = str(os.cpu_count() or 1)  # without a number `make` starts everything at once
    for command in (
        ["cmake", "-S", str(SOURCE), "-B", str(folder), *CHEAP],
        ["cmake", "--build", str(folder), "--parallel", at_once, "--target", *PROGRAMS],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print((done.stdout + done.stderr)[-8_000:])
            raise SystemExit(f"{' '.join(command)} failed")
    return folder / PROGRAMS[0], folder / PROGRAMS[1]
