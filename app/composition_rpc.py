"""Puts the gRPC server of a worker together: what accepts, checks and records direct calls, around the
worker's own runner. Imported only where GRPC_PORT is set: it needs the extra `grpc`."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from app.composition import build_catalogue, build_model_names
from app.composition_core import Core, address_policy
from app.composition_people import build_access, build_rate_limits
from app.rpc.direct_calls import DirectCalls
from app.rpc.direct_opening import DirectParts
from app.rpc.inference_service import NAME, InferenceService
from app.rpc.model_repository import ModelRepository
from app.rpc.predictions_service import NAME as PREDICTIONS
from app.rpc.predictions_service import PredictionsService
from app.rpc.server import OpenServer, RpcOptions, RpcServer
from app.rpc.tls import CertificateUsers, ShownCertificate, TlsFiles
from app.services.catalogue.model_names import ModelNames
from app.services.files.own_files import OwnFiles
from app.services.people.worker_tokens import GrantVerifier, public_key
from app.services.predictions.backlog import Backlog, BacklogLimits
from app.services.predictions.direct import RunningHere, ThisWorker
from app.services.predictions.input_check import InputChecker
from app.services.predictions.submit import Submitter
from app.settings import Settings
from app.worker.heartbeat import Post, no_certificate
from app.worker.process import WorkerParts

RPC_CONNECTIONS = 4  # of the pool: inserts, look-ups of credentials and models


def build_rpc(settings: Settings, core: Core, post: Post, parts: WorkerParts) -> RpcServer:
    """Not started."""
    options = RpcOptions(settings.grpc_host, settings.grpc_port, tls_files(settings))
    return RpcServer(options, lambda: open_rpc(settings, core, post, parts))


def tls_files(settings: Settings) -> TlsFiles | None:
    """None: plaintext."""
    certificate, key = settings.grpc_tls_cert_file, settings.grpc_tls_key_file
    return TlsFiles(certificate, key, settings.grpc_tls_client_ca_file) if certificate and key else None


def build_shown_certificate(settings: Settings) -> Callable[[], str]:
    """What says the SHA-256 of the certificate that new connections are shown."""
    files = tls_files(settings)
    return ShownCertificate(files).sha256 if files else no_certificate


def open_rpc(settings: Settings, core: Core, post: Post, parts: WorkerParts) -> OpenServer:
    """On the loop that will serve."""
    threads = ThreadPoolExecutor(RPC_CONNECTIONS, thread_name_prefix="rpc-db")
    catalogue, versions, runnables = build_catalogue(settings, core, threads)
    names = build_model_names(settings, core.database, threads, runnables)
    direct = build_direct_parts(settings, core, post, parts, threads, names)
    calls = DirectCalls(direct)
    repository = ModelRepository(catalogue, versions, parts.engine, parts.preloader, post.facts, threads)
    inference = InferenceService(calls, repository)

    async def close() -> None:
        await direct.submitter.close()
        await direct.access.close()
        direct.limits.close()
        threads.shutdown(wait=True)

    predictions = PredictionsService(calls)
    handlers = [inference.handlers(), predictions.handlers()]
    return OpenServer(calls, handlers, [NAME, PREDICTIONS], close)


def build_direct_parts(
    settings: Settings,
    core: Core,
    post: Post,
    parts: WorkerParts,
    threads: ThreadPoolExecutor,
    names: ModelNames,
) -> DirectParts:
    """What accepts predictions as running here. Of the limits of what waits, only that of bytes counts."""
    checker = InputChecker(policy=address_policy(settings), development=settings.is_development)
    access = build_access(settings, core.database, threads)
    running = RunningHere(core.lifecycle, parts.identity)
    submitter = Submitter(
        core.database,
        running,
        checker,
        OwnFiles(core.database, threads),
        ThisWorker(post.facts.pinned),
        Backlog(core.database, threads, BacklogLimits(bytes=settings.prediction_quota_bytes)),
        core.answers.stored,
        threads,
        asyncio.to_thread,
    )
    return DirectParts(
        core.database,
        access,
        GrantVerifier(public_key(settings.secret_key), post.facts.pinned),
        names,
        build_rate_limits(settings),
        submitter,
        running.begin,
        checker,
        parts.runner,
        core.view,
        core.answers.stored,
        post.slots,
        CertificateUsers(settings.certificate_users),
    )
