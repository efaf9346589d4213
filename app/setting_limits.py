"""The settings that bound what one user may take: how often they may call, how much may wait, and how many
bytes of theirs are kept."""

from pydantic import Field
from pydantic_settings import BaseSettings

from app.setting_types import RateLimit


class LimitSettings(BaseSettings):
    """Rate limits, what may wait, and quotas in bytes."""

    rate_limit_creates: RateLimit = Field(
        "600/minute",
        description=(
            "New predictions of one user, or of one address without a credential; `off`: no limit. "
            "`lovage up` sets it off unless you set it, or others can reach it."
        ),
    )
    rate_limit_calls: RateLimit = Field(
        "3000/minute",
        description=(
            "All other calls of one user or address; `off`: no limit. `lovage up` sets it as the one above."
        ),
    )
    rate_limit_key: RateLimit = Field(
        "", description="All calls with one API key, e.g. 1000/minute; empty: only its user's limits."
    )
    rate_limit_logins: RateLimit = Field(
        "10/minute",
        description=(
            "Wrong passwords for one account from one address; `off`: no limit. An account from all"
            " addresses, and an address for all accounts, may have 5 times as many; then one try a second is"
            " let in."
        ),
    )
    rate_limit_registrations: RateLimit = Field(
        "20/hour", description="Accounts that one address may try to create; `off`: no limit."
    )
    max_waiting_per_user: int = Field(
        100_000, ge=0, description="Waiting predictions of one user; more are answered 429. 0: no limit."
    )
    max_waiting: int = Field(
        2_000_000, ge=0, description="Waiting predictions in all; more are answered 429. 0: no limit."
    )
    upload_quota_bytes: int = Field(
        20_000_000_000,
        ge=0,
        description=(
            "Bytes of one user's uploaded files; an upload beyond them is answered 429. 0: no limit. "
            "`lovage up` sets 0 unless you set it, or others can reach it."
        ),
    )
    prediction_quota_bytes: int = Field(
        100_000_000_000,
        ge=0,
        description=(
            "Bytes of one user's kept inputs, outputs and output files; new predictions beyond them are"
            " answered 429. 0: no limit. `lovage up` sets it as the one above."
        ),
    )
    model_quota_bytes: int = Field(
        500_000_000_000,
        ge=0,
        description=(
            "Bytes of the files of all models that one user has registered from the hub; a version beyond"
            " them is answered 429. 0: no limit. `lovage up` sets it as the two above."
        ),
    )
