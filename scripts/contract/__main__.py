"""`python -m scripts.contract`: both clients make the same calls of a real platform, in plaintext and over
mutual TLS; each must answer as the contract says, and both alike. `--clients python,cpp`.

Exit code 1 when a call was answered wrongly, 3 when packages for the C++ client are missing; 0 with
`--or-skip`, which only says which.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from app.local.certificates import CertificateFolder
from app.local.ports import choose_port
from scripts.bench.stage import stage
from scripts.contract import cpp_build
from scripts.contract.cases import Case, answer_cases, refusal_cases, tls_cases
from scripts.contract.ground import Ground, Json, https_before, register_models, tls_files
from scripts.own_platform import UNLIMITED

NEEDED = "The C++ client needs packages that are not there:"
SKIPPED = "The C++ client is not built and the clients' contract not tried, as packages are not there:"
EXIT_MISSING = 3
PYTHON = [sys.executable, "-m", "scripts.contract.python_client"]
UNLIKE = ("id", "has_prediction")  # of an answer: each call's own


class Client:
    """A client's program that reads orders and writes outcomes, a line each."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def carry_out(self, order: Json) -> Json:
        """Its outcome."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        outcome: Json = json.loads(self._process.stdout.readline() or '{"error": {"code": "died"}}')
        return outcome

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()


def list_faults(clients: list[Client], case: Case) -> Iterator[str]:
    """What is wrong with the clients' outcomes, and between them."""
    outcomes = {client.name: client.carry_out(case.order) for client in clients}
    for name, outcome in outcomes.items():
        if not case.is_right(outcome):
            yield f"{name}: {json.dumps(outcome)[:600]}"
    if len({_comparable(outcome) for outcome in outcomes.values()}) > 1:
        yield f"not alike: {json.dumps(outcomes)[:900]}"


def _comparable(outcome: Json) -> str:
    """Codes are alike, sentences of gRPC's own may differ; numbers are those of the wire."""
    if "error" in outcome:
        return str(outcome["error"]["code"])
    answer: dict[str, Any] = {name: value for name, value in outcome["answer"].items() if name not in UNLIKE}
    if (answer.get("end") or {}).get("status") == "canceled":  # how far it came
        return "canceled"
    return json.dumps(answer, sort_keys=True)


def run(clients: list[Client], cases: Iterator[Case]) -> int:
    """How many were answered wrongly; prints each."""
    wrong = 0
    for case in cases:
        faults = list(list_faults(clients, case))
        print(f"{'WRONG ' if faults else 'ok    '} {case.name}", flush=True)
        for fault in faults:
            print(f"         {fault}")
        wrong += bool(faults)
    return wrong


@contextmanager
def ground_of(folder: Path, certificates: CertificateFolder | None) -> Iterator[Ground]:
    """A platform: in plaintext, or with mutual TLS, its API behind an HTTPS port."""
    env, tls = {"GRPC_PORT": str(choose_port()), "MODEL_ROOTS": str(folder), **UNLIMITED}, {}
    with ExitStack() as stack:
        if certificates:
            server = certificates.make_server(["localhost"])
            env |= {
                "GRPC_TLS_CERT_FILE": str(server.certificate),
                "GRPC_TLS_KEY_FILE": str(server.key),
                "GRPC_TLS_CLIENT_CA_FILE": str(certificates.authority.certificate),
            }
            tls = tls_files(certificates, certificates.make_client("contract"))
        on = stack.enter_context(stage(**env))
        url, api_tls = on.platform.api_url, {}
        if certificates:
            url, api_tls = stack.enter_context(https_before(url, server)), tls_files(certificates)
        models = (
            {"echo": "demo/echo", "minilm": "demo/minilm"} if certificates else register_models(on, folder)
        )
        yield Ground(on, url, Path(on.platform.key_file).read_text().strip(), api_tls, tls, models)


def run_example(program: Path, ground: Ground) -> int:
    """1 when the example does not print what it streams."""
    names = {"LOVAGE_URL": ground.url, "LOVAGE_TOKEN": ground.key}
    done = subprocess.run(
        [program, "demo/echo", "hello there"], env=names, capture_output=True, text=True, check=False
    )
    is_right = (done.returncode, done.stdout) == (0, "hello there\n")
    print("ok      the C++ example" if is_right else f"WRONG   the C++ example: {done}", flush=True)
    return int(not is_right)


def check(clients: list[Client], example: Path | None) -> int:
    """How many cases went wrong."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="lovage-contract-") as text:
        folder = Path(text)
        with ground_of(folder, None) as ground:
            wrong += run(clients, answer_cases(ground))
            wrong += run(clients, refusal_cases(ground))
            wrong += run_example(example, ground) if example else 0
        certificates = CertificateFolder(folder / "certificates")
        strangers = CertificateFolder(folder / "strangers")
        with ground_of(folder, certificates) as ground:
            stranger = tls_files(strangers, strangers.make_client("contract"))
            wrong += run(clients, tls_cases(ground, stranger))
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.contract", description=__doc__)
    parser.add_argument("--clients", default="python,cpp", help="comma-separated")
    parser.add_argument("--or-skip", action="store_true", help="skip where Debian's packages are missing")
    arguments = parser.parse_args()
    names = arguments.clients.split(",")
    if unknown := sorted(set(names) - {"python", "cpp"}):
        parser.error(f"no such client: {', '.join(unknown)}")
    commands, example = {"python": PYTHON}, None
    if "cpp" in names:
        if missing := cpp_build.list_missing():
            print(f"{SKIPPED if arguments.or_skip else NEEDED} apt-get install {' '.join(missing)}")
            return 0 if arguments.or_skip else EXIT_MISSING
        program, example = cpp_build.build()
        commands["cpp"] = [str(program)]
    clients = [Client(name, commands[name]) for name in names]
    try:
        wrong = check(clients, example)
    finally:
        for client in clients:
            client.close()
    print(f"{'BREACH' if wrong else 'ok'}: {', '.join(names)} under the contract, {wrong} calls wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
