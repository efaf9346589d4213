"""Every setting of Lovage, typed; the only reader of the environment, of .env and of files of secrets.

Read once at the root of a process (`load()`), then passed down as values; where the values stand is found by
app/setting_sources.py. `.env.example` and the table of docs/reference/settings.md are generated from these
classes by `scripts/env_example.py`, and a test fails when they differ.
"""

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app import setting_sources
from app.feature_settings import FeatureSettings
from app.operator_settings import OperatorSettings
from app.peer_settings import PeerSettings
from app.setting_groups import (
    ModelSettings,
    PeopleSettings,
    PlatformSettings,
    ServerSettings,
    StorageSettings,
    WebhookSettings,
    WorkerSettings,
)
from app.setting_limits import LimitSettings
from app.setting_sources import DEFAULT, DEPLOYMENT_FILE, ENV_FILE, OFF, Found
from app.setting_types import Secret, ShownSetting, folders, mask, secret_mark

if TYPE_CHECKING:
    from app.deployment_file import Deployment

__all__ = [
    "ClientSettings",
    "Settings",
    "child_environment",
    "describe",
    "find",
    "find_deployment",
    "folders",
    "is_weak",
    "load",
    "load_client",
    "load_with",
    "shown_settings",
    "use_deployment",
]

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


def is_weak(secret: str) -> bool:
    """Whether a secret is too short, of too few different characters, or a known default, also a repeated
    one."""
    plain = re.sub(r"[^a-z]", "", secret.lower())
    known = any(re.fullmatch(f"({word})+", plain) for word in WEAK_SECRETS)
    return known or len(secret.encode()) < MIN_SECRET_BYTES or len(set(secret)) < FEWEST_CHARACTERS


class _FoundValues(PydanticBaseSettingsSource):
    """What is set, as pydantic takes it."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        sourced = find().settings.get(field_name.upper())
        return (sourced.text if sourced else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        names = {name.upper(): name for name in self.settings_cls.model_fields}
        return {names[name]: value.text for name, value in find().settings.items() if name in names}


class _Sourced(BaseSettings):
    """Settings whose values are found by app/setting_sources.py; what is passed in goes before them."""

    model_config = SettingsConfigDict(extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """In the place of pydantic's own readers."""
        return init_settings, _FoundValues(settings_cls)


class Settings(  # pydantic collects the fields from the last base to the first
    _Sourced,
    OperatorSettings,
    PeerSettings,
    FeatureSettings,
    WebhookSettings,
    WorkerSettings,
    ModelSettings,
    StorageSettings,
    LimitSettings,
    PeopleSettings,
    ServerSettings,
    PlatformSettings,
):
    """One attribute a setting; the environment variable is the attribute's name in capitals."""

    @model_validator(mode="after")
    def secret_is_strong(self) -> "Settings":
        """Outside development a process refuses to start with a weak secret; in development one is made
        up."""
        if self.lovage_env == "production":
            if is_weak(self.secret_key):
                raise ValueError(
                    "SECRET_KEY must be at least 32 bytes and not a known default, the same for all processes"
                    " of a platform; for the first one make it with: openssl rand -hex 32"
                )
            if self.allow_private_addresses:
                raise ValueError("ALLOW_PRIVATE_ADDRESSES is for development only (LOVAGE_ENV=development)")
        elif not self.secret_key:
            self.secret_key = secrets.token_hex(MIN_SECRET_BYTES)
        return self

    @model_validator(mode="after")
    def nothing_contradicts(self) -> "Settings":
        """Two settings that cannot both be meant are refused."""
        if self.storage == "s3" and not self.s3_bucket:
            raise ValueError("STORAGE=s3 needs a bucket: set S3_BUCKET")
        if self.storage != "s3" and self.s3_bucket:
            raise ValueError(
                f"S3_BUCKET is set, but STORAGE={self.storage} would not use it: set STORAGE=s3, or leave"
                " S3_BUCKET empty"
            )
        if bool(self.s3_access_key_id) != bool(self.s3_secret_access_key):
            raise ValueError(
                "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY belong together: set both, or neither for boto3's"
                " own credential chain"
            )
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError(
                "TLS_CERT_FILE and TLS_KEY_FILE belong together: set both, or neither for plain HTTP"
            )
        if self.dead_after_seconds <= self.heartbeat_seconds:
            raise ValueError(
                f"DEAD_AFTER_SECONDS={self.dead_after_seconds:g} must be more than"
                f" HEARTBEAT_SECONDS={self.heartbeat_seconds:g}: every worker would count as dead between two"
                " heartbeats"
            )
        return self

    @model_validator(mode="after")
    def grpc_tls_is_whole(self) -> "Settings":
        """What gRPC's TLS lacks is said before a worker listens without it."""
        if bool(self.grpc_tls_cert_file) != bool(self.grpc_tls_key_file):
            raise ValueError(
                "GRPC_TLS_CERT_FILE and GRPC_TLS_KEY_FILE belong together: set both, or neither for plaintext"
            )
        if self.grpc_tls_client_ca_file and not self.grpc_tls_cert_file:
            raise ValueError(
                "GRPC_TLS_CLIENT_CA_FILE needs GRPC_TLS_CERT_FILE: without TLS no certificate is asked for"
            )
        if self.grpc_tls_users and not self.grpc_tls_client_ca_file:
            raise ValueError(
                "GRPC_TLS_USERS needs GRPC_TLS_CLIENT_CA_FILE: otherwise no client has a certificate"
            )
        return self

    @property
    def is_development(self) -> bool:
        return self.lovage_env == "development"

    @property
    def registration_is_open(self) -> bool:
        if self.allow_registration is None:
            return self.is_development
        return self.allow_registration

    @property
    def storage_folder(self) -> Path:
        return self.storage_dir or self.lovage_data_dir / "storage"

    @property
    def model_cache_folder(self) -> Path:
        return self.model_cache_dir or self.lovage_data_dir / "models"


class ClientSettings(_Sourced):
    """What the command line needs to talk to a running platform; everything else is read from
    LOVAGE_DATA_DIR."""

    lovage_url: str = Field(
        "", description="The API that `lovage run` and its like talk to. Empty: the one `lovage up` started."
    )
    lovage_token: Secret = Field("", description="An API key for it. Empty: the key in LOVAGE_DATA_DIR.")
    lovage_data_dir: Path = Field(Path(".lovage"), description="Where `lovage up` keeps its state.")
    runtime_paths: str = Field("", description=Settings.model_fields["runtime_paths"].description)


FIELDS = {**ClientSettings.model_fields, **Settings.model_fields}
KNOWN = frozenset(name.upper() for name in FIELDS)
SECRETS = frozenset(name.upper() for name, setting in FIELDS.items() if secret_mark(setting))


def find() -> Found:
    """What is set for this process: in its environment, in the .env of its working folder, in the
    deployment's file. Raises setting_sources.WrongSource."""
    deployment = find_deployment()
    texts = deployment.as_texts() if deployment else {}
    return setting_sources.find(os.environ, KNOWN, SECRETS, Path(), texts)


def find_deployment() -> "Deployment | None":
    """The file that LOVAGE_CONFIG names. Raises WrongSource."""
    path = os.environ.get(DEPLOYMENT_FILE, "").strip()
    if not path:
        return None
    from app.deployment_file import read_deployment  # few need it, and YAML takes its time to import

    return read_deployment(Path(path), [name.upper() for name in Settings.model_fields], SECRETS)


def use_deployment(path: Path) -> "Deployment | None":
    """From now on the settings of this process, and of those that it starts, are read from this file as
    well. Raises WrongSource."""
    os.environ[DEPLOYMENT_FILE] = str(path.absolute())
    return find_deployment()


def load() -> Settings:
    """The settings of this process. Raises pydantic's ValidationError, whose text names the variable, and
    WrongSource."""
    return Settings()


def load_with(defaults: Mapping[str, str]) -> Settings:
    """The same with other defaults, by the variables' names: what is set goes before them."""
    set_already = find().settings
    values: dict[str, Any] = {
        name.lower(): text for name, text in defaults.items() if name not in set_already
    }
    return Settings(**values)


def load_client() -> ClientSettings:
    """The settings of a command-line client."""
    return ClientSettings()


def child_environment() -> dict[str, str]:
    """The environment of processes that this one starts: ours, with all that .env and files hold in it, so
    that they need not look there again."""
    sources = find()
    values = {name: value.text for name, value in sources.settings.items()}
    return {**sources.foreign, **os.environ, **values, ENV_FILE: OFF, DEPLOYMENT_FILE: ""}


def describe(defaults: Mapping[str, str] | None = None, defaults_by: str = DEFAULT) -> list[ShownSetting]:
    """Every setting as it is set, whether it would be accepted or not. `defaults` by the variables' names
    stand where nothing is set; `defaults_by`: whose they are."""
    settings, others = find().settings, defaults or {}
    shown = []
    for field_name, setting in Settings.model_fields.items():
        name = field_name.upper()
        if name in settings:
            value = settings[name]
            text, origin = value.text, _origin(name, value)
        elif name in others:
            text, origin = others[name], defaults_by
        else:
            text, origin = shown_default(setting.default), DEFAULT
        description = str(setting.description)
        shown.append(ShownSetting(name, mask(text, secret_mark(setting)), origin, description))
    return shown


def shown_default(value: object) -> str:
    """A default as it is written in an environment file."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _origin(name: str, value: setting_sources.Sourced) -> str:
    return value.origin if value.variable in (name, name + "_FILE") else f"{value.origin} ({value.variable})"


def shown_settings(settings: Settings) -> tuple[ShownSetting, ...]:
    """Every setting as this process has it, for administrators; of a secret one only whether it is set."""
    origins = {setting.name: setting.origin for setting in describe()}
    return tuple(
        ShownSetting(
            name=name.upper(),
            value=mask(shown_default(getattr(settings, name)), secret_mark(field)),
            origin=origins[name.upper()],
            description=str(field.description),
        )
        for name, field in Settings.model_fields.items()
    )
