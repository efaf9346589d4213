"""The settings by topic; app/settings.py puts them together into the one class that processes read.

Classes and fields are in the order of `.env.example`. A property turns a text into what is passed down.
"""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from app.setting_types import (
    ANY_NAME,
    Aliases,
    CertificateUsers,
    Lower,
    Networks,
    SecondsList,
    Secret,
    SecretUrl,
    Url,
    aliases,
    folders,
    listed,
)
from app.shipped import locate_shipped


class PlatformSettings(BaseSettings):
    """Where this installation keeps its state and how its processes find each other."""

    lovage_env: Literal["development", "production"] = Field(
        "production",
        description=(
            "`development` allows private webhook addresses and generated secrets; `lovage up` sets it."
        ),
    )
    lovage_data_dir: Path = Field(Path(".lovage"), description="Local state: databases, logs, files, caches.")
    database_url: SecretUrl = Field(
        "",
        description="Postgres, e.g. postgresql+psycopg2://user:pass@host/db. Empty: `lovage up` starts one.",
    )
    redis_url: SecretUrl = Field(
        "", description="Redis or Valkey, e.g. redis://:pass@host:6379/0. Empty: `lovage up` starts one."
    )
    secret_key: Secret = Field(
        "", description="Signs tokens, file and stream URLs. At least 32 bytes; the same for all processes."
    )
    public_url: Url = Field(
        "",
        description=(
            "How clients reach the API, e.g. https://lovage.example.com. Empty: taken from the request."
        ),
    )


class ServerSettings(BaseSettings):
    """An API process: address, threads, limits of one request, WebSockets."""

    api_host: str = Field("127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(8000, ge=1, le=65535, description="Port the API listens on.")
    tls_cert_file: Path | None = Field(
        None,
        description="The API speaks HTTPS with this certificate and its chain (PEM); empty: HTTP.",
    )
    tls_key_file: Path | None = Field(None, description="The private key of TLS_CERT_FILE (PEM).")
    api_threads: int = Field(16, ge=1, le=256, description="Threads for database work in one API process.")
    max_body_bytes: int = Field(
        10_000_000,
        ge=1_000,
        description=(
            "Largest JSON body of a call that makes predictions; larger ones are answered 413. Bodies about "
            "models may have 1 MB, all others 64 kB."
        ),
    )
    max_upload_bytes: int = Field(100_000_000, ge=1_000, description="Largest file upload (POST /v1/files).")
    refuse_unknown_inputs: bool = Field(
        False,
        description=(
            "Refuse inputs that a model does not have with a 422, as `Prefer: handling=strict` does;"
            " else they are left out and named in the prediction's `warnings` and logs."
        ),
    )
    api_drain_seconds: float = Field(
        3,
        ge=0,
        le=60,
        description=(
            "How long an API process that is stopping goes on serving while /ready says 503, so that a load"
            " balancer notices. `lovage up` sets 0."
        ),
    )
    ws_idle_seconds: float = Field(
        90,
        gt=0,
        description=(
            "A WebSocket client that is silent for so long is disconnected; it is sent two pings before."
        ),
    )
    ws_connections_per_user: int = Field(
        100,
        ge=0,
        description="WebSockets of one user, or of one address, at one API process; 0: no limit.",
    )
    ws_recheck_seconds: float = Field(
        30,
        gt=0,
        description=(
            "An open WebSocket's credential is checked again this often; one that was revoked closes it."
        ),
    )
    cors_origins: str = Field(
        "", description="Comma-separated origins that browsers may call from; empty: none."
    )

    @property
    def origins(self) -> list[str]:
        return listed(self.cors_origins)


class PeopleSettings(BaseSettings):
    """Who may call, and how long credentials last."""

    allow_anonymous: bool = Field(
        False, description="Let callers without a token run public models; they see nothing of others."
    )
    allow_registration: bool | None = Field(
        None,
        description=(
            "Let anybody create an account at POST /v1/auth/register. Empty: only in development; `lovage up`"
            " closes it on addresses that other machines can reach."
        ),
    )
    trusted_proxies: Networks = Field(
        "",
        description=(
            "Comma-separated addresses or networks whose X-Forwarded-For, -Proto, -Host and -Prefix are"
            " believed; empty: nobody's."
        ),
    )
    audit_days: int = Field(
        365, ge=0, description="Days after which entries of the audit log are removed; 0: kept."
    )
    access_token_minutes: int = Field(
        60, ge=1, description="Lifetime of a JWT from POST /v1/auth/token, in minutes."
    )
    session_days: float = Field(
        14, gt=0, le=365, description="How long a browser stays signed in to the web app, in days."
    )
    principal_cache_seconds: float = Field(
        3.0, ge=0, description="How long an API process trusts an API key it has just checked."
    )


class StorageSettings(BaseSettings):
    """Where files live and how long they and the data of predictions are kept."""

    storage: Annotated[Literal["local", "s3", "memory"], Lower] = Field(
        "local", description="Where files live. `memory` is for tests only."
    )
    storage_dir: Path | None = Field(
        None, description="Folder of the local storage; empty: LOVAGE_DATA_DIR/storage."
    )
    s3_bucket: str = Field("", description="Bucket for STORAGE=s3.")
    s3_prefix: str = Field("", description="Key prefix inside the bucket.")
    s3_endpoint_url: Url = Field("", description="For S3-compatible servers; empty: Amazon's.")
    s3_public_url: Url = Field("", description="Where callers reach it, if elsewhere: for signed links.")
    s3_region: str = Field("us-east-1", description="Region used for signing.")
    s3_access_key_id: Secret = Field("", description="Empty: boto3's own credential chain.")
    s3_secret_access_key: Secret = Field("", description="Empty: boto3's own credential chain.")
    file_url_seconds: int = Field(3600, ge=60, description="How long a signed file URL is valid, in seconds.")
    retention_hours: float = Field(
        0, ge=0, description="Hours after which a finished prediction's data is removed; 0: kept."
    )
    file_retention_hours: float = Field(
        24, ge=0, description="Hours after which an uploaded file is removed; 0: kept."
    )


class ModelSettings(BaseSettings):
    """Where models and runtimes come from, and whose code may run."""

    model_roots: str = Field("", description="Colon-separated folders that `path:` sources may point into.")
    model_cache_dir: Path | None = Field(
        None, description="Downloaded models; empty: LOVAGE_DATA_DIR/models."
    )
    max_model_bytes: int = Field(
        200_000_000_000,
        ge=0,
        description="Most bytes of one model's files, looked at before they are downloaded; 0: no limit.",
    )
    model_disk_bytes: int = Field(
        0,
        ge=0,
        description=(
            "Most bytes of downloaded models on a worker's disk: those unused for longest are removed, none "
            "that is loaded. 0: as many as leave 5 GB of the disk free (a tenth, if that is less)."
        ),
    )
    runtime_paths: str = Field(
        "", description="Colon-separated folders scanned for runtimes (hf_*.py, *_runtime.py)."
    )
    hf_endpoint: Url = Field("", description="Hugging Face hub or a mirror; empty: the library's default.")
    hf_token: Secret = Field("", description="Token for private or gated models.")
    trust_remote_code: str = Field(
        "", description="Comma-separated `org/name@commit` whose own code may run. Empty: none."
    )
    model_aliases: Aliases = Field(
        "",
        description=(
            "Other names of models for OpenAI's, Ollama's and such clients, e.g."
            " gpt-4o=ada/chat,text-embedding-3-small=demo/minilm."
        ),
    )

    @property
    def model_root_folders(self) -> list[Path]:
        """Folders under which `path:` sources are allowed; the shipped demo models are always among them."""
        return [locate_shipped("demo_models"), *folders(self.model_roots)]

    @property
    def runtime_folders(self) -> list[Path]:
        return folders(self.runtime_paths)

    @property
    def models_by_alias(self) -> dict[str, str]:
        return aliases(self.model_aliases)

    @property
    def trusted_code(self) -> frozenset[str]:
        return frozenset(listed(self.trust_remote_code))


class WorkerSettings(BaseSettings):
    """A worker: its device, its capacity, its loaded models, and when it counts as dead."""

    device: str = Field(
        "auto", description="Device of a worker: auto, cpu, gpu (any accelerator), cuda:0, mps, …"
    )
    worker_slots: int = Field(
        256, ge=1, le=4096, description="Predictions that one worker may hold at once, running or claimed."
    )
    worker_grace_seconds: float = Field(
        25, ge=0, description="Time a stopping worker gives running predictions before handing them back."
    )
    model_cache_bytes: int = Field(
        0,
        ge=0,
        description=(
            "Memory for the loaded models of one worker; 0: 85 % of what an accelerator has free at start, or"
            " half of what the machine has free, shared by its CPU workers."
        ),
    )
    prefetch_models: str = Field(
        "",
        description=(
            "Comma-separated owner/name or version ids that a worker loads when it starts, where they may run"
            " there."
        ),
    )
    model_idle_seconds: float = Field(
        0, ge=0, description="Unload a model unused for this long; 0: only when memory is needed."
    )
    model_threads: int = Field(
        0, ge=0, description="CPU threads of one model process; 0: cores divided by workers on this host."
    )
    workers_on_host: int = Field(
        1, ge=1, description="How many CPU workers share this host's cores; `lovage up` sets it."
    )
    setup_timeout_seconds: float = Field(
        600, ge=1, description="Longest loading time of a model (its download not counted)."
    )
    model_silence_seconds: float = Field(
        30,
        ge=10,
        description=(
            "A model process without a sign of life for so long is killed: it is stopped, or stuck in code"
            " that never lets go of the interpreter."
        ),
    )
    run_timeout_seconds: float = Field(
        1800, ge=1, description="Longest run of one prediction unless its version says otherwise."
    )
    grpc_port: int = Field(
        0,
        ge=0,
        le=65535,
        description=(
            "Where a worker takes calls by gRPC (Open Inference Protocol, and Lovage's own); 0: nowhere."
            " `lovage up` gives it to the first worker and the next ones to the others. Needs the extra"
            " `grpc`."
        ),
    )
    grpc_host: str = Field("127.0.0.1", description="Address of GRPC_PORT.")
    grpc_public_host: str = Field(
        "",
        description="Where clients of sessions reach GRPC_PORT. Empty: GRPC_HOST, or this machine's name.",
    )
    grpc_tls_cert_file: Path | None = Field(
        None,
        description=(
            "GRPC_PORT speaks TLS, and nothing else, with this certificate and its chain (PEM). It is read"
            " again when it changes. Empty: plaintext."
        ),
    )
    grpc_tls_key_file: Path | None = Field(None, description="The private key of GRPC_TLS_CERT_FILE (PEM).")
    grpc_tls_client_ca_file: Path | None = Field(
        None,
        description=(
            "Mutual TLS: clients of GRPC_PORT need a certificate of one of these authorities (PEM)."
        ),
    )
    grpc_tls_users: CertificateUsers = Field(
        "",
        description=(
            "As whom clients call that send a certificate and no token: name=username with commas between,"
            " where the name is one of the certificate's alternative names or its common name. `*`: the"
            " common name is the username."
        ),
    )
    heartbeat_seconds: float = Field(5, gt=0, description="How often a worker writes its heartbeat.")
    dead_after_seconds: float = Field(
        15, gt=0, description="Silence after which a worker counts as dead and its work is retried."
    )
    max_crashes: int = Field(
        3, ge=1, description="A prediction whose worker or model process died this often fails."
    )
    routing_strategy: Literal["affinity", "least-loaded", "round-robin", "best-performance"] = Field(
        "affinity",
        description="How a worker is chosen for a prediction whose version does not say (`routing`).",
    )
    sweep_seconds: float = Field(
        2, gt=0, description="How often the clock sends the sweeps: orphans, due webhooks, expiry."
    )

    @property
    def certificate_users(self) -> dict[str, str]:
        """Usernames by the names of certificates."""
        return {ANY_NAME: ANY_NAME} if self.grpc_tls_users == ANY_NAME else aliases(self.grpc_tls_users)

    @property
    def prefetched(self) -> list[str]:
        return listed(self.prefetch_models)


class WebhookSettings(BaseSettings):
    """Deliveries to webhook receivers."""

    webhook_timeout_seconds: float = Field(
        15,
        gt=0,
        le=600,
        description="Longest time of one delivery: resolving, connecting, sending, and the answer's head.",
    )
    webhook_retry_seconds: SecondsList = Field(
        "5,30,300,1800,7200,18000,36000,36000",
        description=("Waits before the 2nd, 3rd, … attempt of a delivery, in seconds; spread by 20 %."),
    )
    webhook_concurrency: int = Field(32, ge=1, description="Deliveries one courier has open at once.")
    allow_private_addresses: bool = Field(
        False,
        description=(
            "Allow webhooks and file inputs on private addresses. Development only; `lovage up` sets it."
        ),
    )

    deny_addresses: Networks = Field(
        "",
        description=(
            "Comma-separated addresses or networks that webhooks and file inputs never reach, beside the "
            "private ones: whatever is yours although it is public."
        ),
    )

    @property
    def denied_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(part, strict=False) for part in listed(self.deny_addresses))

    @property
    def webhook_schedule(self) -> tuple[float, ...]:
        return tuple(map(float, self.webhook_retry_seconds.split(",")))
