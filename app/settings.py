"""Every setting of Lovage, typed; the only reader of the environment.

Read once at the root of a process (`load()`), then passed down as values. `.env.example` is generated from
these classes by `scripts/env_example.py`, and a test fails when they differ.
"""

import re
import secrets
from pathlib import Path

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.setting_groups import (
    ModelSettings,
    OperatorSettings,
    PeopleSettings,
    PlatformSettings,
    ServerSettings,
    StorageSettings,
    WebhookSettings,
    WorkerSettings,
)
from app.setting_types import folders

__all__ = ["ClientSettings", "Settings", "folders", "is_weak", "load", "load_client"]

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


class Settings(  # pydantic collects the fields from the last base to the first
    OperatorSettings,
    WebhookSettings,
    WorkerSettings,
    ModelSettings,
    StorageSettings,
    PeopleSettings,
    ServerSettings,
    PlatformSettings,
):
    """One attribute a setting; the environment variable is the attribute's name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False, env_ignore_empty=True)

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


def load() -> Settings:
    """The settings of this process. Raises pydantic's ValidationError, whose text names the variable."""
    return Settings()


class ClientSettings(BaseSettings):
    """What the command line needs to talk to a running platform; everything else is read from
    LOVAGE_DATA_DIR."""

    model_config = SettingsConfigDict(extra="ignore", case_sensitive=False, env_ignore_empty=True)

    lovage_url: str = Field(
        "", description="The API that `lovage run` and its like talk to. Empty: the one `lovage up` started."
    )
    lovage_token: str = Field("", description="An API key for it. Empty: the key in LOVAGE_DATA_DIR.")
    lovage_data_dir: Path = Field(Path(".lovage"), description="Where `lovage up` keeps its state.")
    runtime_paths: str = Field("", description=Settings.model_fields["runtime_paths"].description)


def load_client() -> ClientSettings:
    """The settings of a command-line client."""
    return ClientSettings()
