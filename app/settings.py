"""Every setting of Lovage, typed; the only reader of the environment.

Read once at the root of a process (`load()`), then passed down as values. Knows nothing of what the values
are used for. `.env.example` is generated from this file by `scripts/env_example.py`, and a test fails when
they differ.
"""

import re
import secrets
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

WEAK_SECRETS = (
    "secret",
    "changeme",
    "password",
    "development",
    "test",
    "example",
    "default",
    "yoursecretkey",
)
MIN_SECRET_BYTES = 32
FEWEST_CHARACTERS = 8  # that are different: 32 hexadecimal digits at random have some 14
RATE_LIMIT = re.compile(r"[1-9]\d{0,8} ?/ ?([1-9]\d{0,4} ?)?(second|minute|hour|day)s?")


def is_weak(secret: str) -> bool:
    """Whether a secret is too short, of too few different characters, or a known default, also a repeated
    one."""
    plain = re.sub(r"[^a-z]", "", secret.lower())
    known = any(re.fullmatch(f"({word})+", plain) for word in WEAK_SECRETS)
    return known or len(secret.encode()) < MIN_SECRET_BYTES or len(set(secret)) < FEWEST_CHARACTERS


class Settings(BaseSettings):
    """One attribute a setting; the environment variable is the attribute's name in capitals."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", case_sensitive=False)

    lovage_env: Literal["development", "production"] = Field(
        "production",
        description=(
            "`development` allows private webhook addresses and generated secrets; `lovage up` sets it."
        ),
    )
    lovage_data_dir: Path = Field(
        Path(".lovage"), description="Local state: embedded databases, logs, local storage, caches."
    )
    database_url: str = Field(
        "",
        description="Postgres, e.g. postgresql+psycopg2://user:pass@host/db. Empty: `lovage up` starts one.",
    )
    redis_url: str = Field(
        "", description="Redis or Valkey, e.g. redis://:pass@host:6379/0. Empty: `lovage up` starts one."
    )
    secret_key: str = Field(
        "", description="Signs tokens, file and stream URLs. At least 32 bytes; the same for all processes."
    )
    public_url: str = Field(
        "",
        description=(
            "How clients reach the API, e.g. https://lovage.example.com. Empty: taken from the request."
        ),
    )

    api_host: str = Field("127.0.0.1", description="Address the API listens on.")
    api_port: int = Field(8000, ge=1, le=65535, description="Port the API listens on.")
    api_threads: int = Field(16, ge=1, le=256, description="Threads for database work in one API process.")
    max_body_bytes: int = Field(
        10_000_000, ge=1_000, description="Largest JSON request body; larger ones are answered 413."
    )
    max_upload_bytes: int = Field(100_000_000, ge=1_000, description="Largest file upload (POST /v1/files).")
    api_drain_seconds: float = Field(
        3,
        ge=0,
        le=60,
        description=(
            "How long an API process that was told to stop goes on serving while /ready says 503, so "
            "that a load balancer notices. `lovage up` sets 0."
        ),
    )
    ws_idle_seconds: float = Field(
        90,
        gt=0,
        description="A WebSocket client that says nothing for so long is dropped; it is asked twice before.",
    )
    ws_recheck_seconds: float = Field(
        30,
        gt=0,
        description=(
            "An open WebSocket's credential is looked at again this often; one that was revoked closes it."
        ),
    )
    cors_origins: str = Field(
        "", description="Comma-separated origins that browsers may call from; empty: none."
    )

    allow_anonymous: bool = Field(
        False, description="Let callers without a token run public models; they see nothing of others."
    )
    allow_registration: bool = Field(
        True, description="Let anybody create an account at POST /v1/auth/register."
    )
    trusted_proxies: str = Field(
        "",
        description=(
            "Comma-separated addresses or networks whose X-Forwarded-For is believed; empty: nobody's."
        ),
    )
    rate_limit_creates: str = Field(
        "600/minute",
        description=(
            "New predictions of one user, or of one address without a credential; empty: no limit. "
            "`lovage up` sets it empty unless you set it."
        ),
    )
    rate_limit_calls: str = Field(
        "3000/minute",
        description="All other calls of one user or address; empty: no limit. `lovage up` sets it empty.",
    )
    rate_limit_key: str = Field(
        "", description="All calls with one API key, e.g. 1000/minute; empty: only its user's limits."
    )
    rate_limit_logins: str = Field(
        "10/minute", description="Wrong passwords for one account and from one address; empty: no limit."
    )
    max_waiting_per_user: int = Field(
        100_000, ge=0, description="Waiting predictions of one user; more are answered 429. 0: no limit."
    )
    max_waiting: int = Field(
        2_000_000, ge=0, description="Waiting predictions in all; more are answered 429. 0: no limit."
    )
    audit_days: int = Field(
        365, ge=0, description="Days after which entries of the audit log are removed; 0: kept."
    )
    access_token_minutes: int = Field(
        60, ge=1, description="Lifetime of a JWT from POST /v1/auth/token, in minutes."
    )
    principal_cache_seconds: float = Field(
        3.0, ge=0, description="How long an API process trusts an API key it has just checked."
    )

    storage: Literal["local", "s3", "memory"] = Field(
        "local", description="Where files live. `memory` is for tests only."
    )
    storage_dir: Path | None = Field(
        None, description="Folder of the local storage; empty: LOVAGE_DATA_DIR/storage."
    )
    s3_bucket: str = Field("", description="Bucket for STORAGE=s3.")
    s3_prefix: str = Field("", description="Key prefix inside the bucket.")
    s3_endpoint_url: str = Field("", description="For S3-compatible servers; empty: Amazon's.")
    s3_region: str = Field("us-east-1", description="Region used for signing.")
    s3_access_key_id: str = Field("", description="Empty: boto3's own credential chain.")
    s3_secret_access_key: str = Field("", description="Empty: boto3's own credential chain.")
    file_url_seconds: int = Field(3600, ge=60, description="How long a signed file URL is valid, in seconds.")
    retention_hours: float = Field(
        0, ge=0, description="Hours after which a finished prediction's data is removed; 0: kept."
    )
    file_retention_hours: float = Field(
        24, ge=0, description="Hours after which an uploaded file is removed; 0: kept."
    )

    model_roots: str = Field("", description="Colon-separated folders that `path:` sources may point into.")
    model_cache_dir: Path | None = Field(
        None, description="Downloaded models; empty: LOVAGE_DATA_DIR/models."
    )
    runtime_paths: str = Field(
        "", description="Colon-separated folders scanned for runtimes (hf_*.py, *_runtime.py)."
    )
    hf_endpoint: str = Field("", description="Hugging Face hub or a mirror; empty: the library's default.")
    hf_token: str = Field("", description="Token for private or gated models.")
    trust_remote_code: str = Field(
        "", description="Comma-separated `org/name@commit` whose own code may run. Empty: none."
    )

    device: str = Field("auto", description="Device of a worker: auto, cpu, cuda:0, mps, …")
    worker_slots: int = Field(
        256, ge=1, le=4096, description="Predictions one worker may hold at once (threads of its pool)."
    )
    worker_grace_seconds: float = Field(
        25, ge=0, description="Time a stopping worker gives running predictions before handing them back."
    )
    model_cache_bytes: int = Field(
        0,
        ge=0,
        description=(
            "Budget for loaded models of one worker; 0: 85 % of an accelerator's free memory at start, of the"
            " machine's half, shared by its workers."
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
        0, ge=0, description="Unload a model unused for this long; 0: only when room is needed."
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
    run_timeout_seconds: float = Field(
        1800, ge=1, description="Longest run of one prediction unless its version says otherwise."
    )
    heartbeat_seconds: float = Field(5, gt=0, description="How often a worker says that it lives.")
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
        2, gt=0, description="How often the clock sweeps: orphans, due webhooks, expiry."
    )

    webhook_timeout_seconds: float = Field(
        15, gt=0, description="Longest wait for a webhook receiver's answer."
    )
    webhook_retry_seconds: str = Field(
        "5,30,300,1800,7200,18000,36000,36000",
        description=(
            "Waits before the 2nd, 3rd, … try to tell the end of a prediction, in seconds; spread by 20 %."
        ),
    )
    webhook_concurrency: int = Field(32, ge=1, description="Deliveries one courier has open at once.")
    allow_private_addresses: bool = Field(
        False,
        description=(
            "Allow webhooks and file inputs on private addresses. Development only; `lovage up` sets it."
        ),
    )

    flower_address: str = Field("127.0.0.1", description="Address Flower listens on.")
    flower_port: int = Field(5555, ge=1, le=65535, description="Port of Flower, Celery's dashboard.")
    flower_basic_auth: str = Field(
        "", description="user:password for Flower; it refuses to start without one."
    )

    metrics: bool = Field(True, description="Serve metrics for Prometheus at /metrics.")
    metrics_token: str = Field(
        "",
        description=(
            "A bearer token that may read /metrics. Empty: only operators from the API, and only callers of"
            " the same machine from HEALTH_PORT."
        ),
    )
    health_host: str = Field("127.0.0.1", description="Address of HEALTH_PORT.")
    health_port: int = Field(
        0,
        ge=0,
        le=65535,
        description=(
            "Where a worker or courier answers /health, /ready and /metrics; 0: nowhere. "
            "`lovage up` gives it to the first worker and the next ones to the others."
        ),
    )

    log_format: Literal["console", "json"] = Field(
        "json", description="`console` for people, `json` for machines."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level that is written."
    )

    @field_validator("public_url", "s3_endpoint_url", "hf_endpoint")
    @classmethod
    def without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("rate_limit_creates", "rate_limit_calls", "rate_limit_key", "rate_limit_logins")
    @classmethod
    def is_a_limit(cls, value: str) -> str:
        if value.strip() and not RATE_LIMIT.fullmatch(value.strip()):
            raise ValueError("must be like 600/minute (second, minute, hour or day), or empty")
        return value.strip()

    @field_validator("webhook_retry_seconds")
    @classmethod
    def are_seconds(cls, value: str) -> str:
        if not re.fullmatch(r"\d{1,7}(\.\d+)?(,\d{1,7}(\.\d+)?)*", value.replace(" ", "")):
            raise ValueError("must be seconds with commas between, e.g. 5,30,300")
        return value.replace(" ", "")

    @field_validator("metrics_token")
    @classmethod
    def is_a_token(cls, value: str) -> str:
        if value and not re.fullmatch(r"[\x21-\x7e]{16,}", value):
            raise ValueError(
                "must be at least 16 printable characters without spaces; make one with: openssl rand -hex 16"
            )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def are_networks(cls, value: str) -> str:
        for part in listed(value):
            ip_network(part, strict=False)  # no `*`: then anybody could name any address
        return value

    @model_validator(mode="after")
    def secret_is_strong(self) -> "Settings":
        """Outside development a process refuses to start with a weak secret; in development one is made
        up."""
        if self.lovage_env == "production":
            if is_weak(self.secret_key):
                raise ValueError(
                    "SECRET_KEY must be at least 32 bytes and not a known default; make one with: openssl"
                    " rand -hex 32"
                )
            if self.allow_private_addresses:
                raise ValueError("ALLOW_PRIVATE_ADDRESSES is for development only (LOVAGE_ENV=development)")
        elif not self.secret_key:
            self.secret_key = secrets.token_hex(MIN_SECRET_BYTES)
        return self

    @property
    def webhook_schedule(self) -> tuple[float, ...]:
        return tuple(map(float, self.webhook_retry_seconds.split(",")))

    @property
    def storage_folder(self) -> Path:
        return self.storage_dir or self.lovage_data_dir / "storage"

    @property
    def model_cache_folder(self) -> Path:
        return self.model_cache_dir or self.lovage_data_dir / "models"

    @property
    def model_root_folders(self) -> list[Path]:
        """Folders under which `path:` sources are allowed; the shipped demo models are always among them."""
        own = Path(__file__).parent.parent / "demo_models"
        return [own, *folders(self.model_roots)]

    @property
    def prefetched(self) -> list[str]:
        return listed(self.prefetch_models)

    @property
    def origins(self) -> list[str]:
        return listed(self.cors_origins)

    @property
    def trusted_code(self) -> frozenset[str]:
        return frozenset(listed(self.trust_remote_code))

    @property
    def runtime_folders(self) -> list[Path]:
        return folders(self.runtime_paths)


def listed(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def folders(text: str) -> list[Path]:
    """The folders of a colon-separated list."""
    return [Path(part).resolve() for part in text.split(":") if part]


def load() -> Settings:
    """The settings of this process. Raises pydantic's ValidationError, whose text names the variable."""
    return Settings()


class ClientSettings(BaseSettings):
    """What the command line needs to talk to a running platform; everything else is read from
    LOVAGE_DATA_DIR."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", case_sensitive=False)

    lovage_url: str = Field(
        "", description="The API that `lovage run` and its like talk to. Empty: the one `lovage up` started."
    )
    lovage_token: str = Field("", description="An API key for it. Empty: the key in LOVAGE_DATA_DIR.")
    lovage_data_dir: Path = Field(Path(".lovage"), description="Where `lovage up` keeps its state.")
    runtime_paths: str = Field("", description=Settings.model_fields["runtime_paths"].description)


def load_client() -> ClientSettings:
    """The settings of a command-line client."""
    return ClientSettings()
