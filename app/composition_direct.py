"""What a worker says of its GRPC_PORT, and what serves there. Imports gRPC, which is an extra, only where the
port is set."""

from collections.abc import Callable

from app.composition_core import Core
from app.domain import queue_names
from app.domain.errors import Unavailable
from app.engine.devices import Device
from app.settings import Settings
from app.worker.direct_runs import DirectServer
from app.worker.heartbeat import Post, no_certificate, this_host
from app.worker.process import WorkerParts


def build_post(settings: Settings, device: Device, name: str, slots: int) -> Post:
    """With where clients call it themselves, and how."""
    tls = grpc_tls(settings)
    certificate = shown_certificate(settings) if tls and settings.grpc_port else no_certificate
    return Post(device, host_with(name, device), slots, grpc_address(settings), tls, certificate)


def host_with(name: str, device: Device) -> str:
    """This machine's name, with a worker's own before it."""
    return queue_names.as_host(f"{name}.{this_host()}") if name not in ("", device.id) else this_host()


def grpc_address(settings: Settings) -> str:
    """Where clients reach GRPC_PORT; "" without one."""
    host = settings.grpc_public_host or settings.grpc_host
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not listened on
        host = this_host()
    return f"{f'[{host}]' if ':' in host else host}:{settings.grpc_port}" if settings.grpc_port else ""


def grpc_tls(settings: Settings) -> str:
    """What clients must speak on GRPC_PORT; "": plaintext."""
    if not settings.grpc_tls_cert_file:
        return ""
    return "mutual" if settings.grpc_tls_client_ca_file else "server"


def shown_certificate(settings: Settings) -> Callable[[], str]:
    """What says the SHA-256 of the certificate that GRPC_PORT shows."""
    try:
        from app.composition_rpc import build_shown_certificate
    except ImportError:  # build_direct_server says so
        return no_certificate
    return build_shown_certificate(settings)


def build_direct_server(
    settings: Settings, core: Core, post: Post, parts: WorkerParts
) -> DirectServer | None:
    """What serves on GRPC_PORT, if there is one. Raises Unavailable where the extra is not installed."""
    if not settings.grpc_port:
        return None
    try:
        from app.composition_rpc import build_rpc
    except ImportError as error:
        missing = f"GRPC_PORT is set, and gRPC is not installed: pip install 'lovage[grpc]' ({error})"
        raise Unavailable(missing) from None
    return build_rpc(settings, core, post, parts)
