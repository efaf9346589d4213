"""The settings of peers. Knows no source of settings."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

from app.setting_types import ModelNames, Secret, list_of

PEER_ID = r"[1-9A-HJ-NP-Za-km-z]{40,64}"  # base58
ADDRESS = r"/(ip4|ip6|dns4|dns6|dns)/[^/\s]{1,253}/tcp/\d{1,5}"
SHARED_KEY = r"[0-9a-f]{64}"


def _shared_key(value: str) -> str:
    if value and not re.fullmatch(SHARED_KEY, value):
        raise ValueError("must be 64 hexadecimal digits; make it with: openssl rand -hex 32")
    return value


Addresses = Annotated[str, list_of(ADDRESS, "addresses like /ip4/0.0.0.0/tcp/4001")]
Peers = Annotated[str, list_of(f"{ADDRESS}/p2p/{PEER_ID}", "addresses like /ip4/10.0.0.7/tcp/4001/p2p/12D3…")]


class PeerSettings(BaseSettings):
    """`lovage peer`: platforms that run each other's predictions."""

    p2p_allowed_peers: Annotated[str, list_of(PEER_ID, "peers' ids")] = Field(
        "",
        description=(
            "Comma-separated ids of the peers that may connect; nobody else is answered. This or"
            " P2P_SHARED_KEY must be set."
        ),
    )
    p2p_shared_key: Annotated[Secret, AfterValidator(_shared_key)] = Field(
        "",
        description=(
            "64 hexadecimal digits that all peers of a network share; without them no connection is made."
        ),
    )
    p2p_listen: Addresses = Field(
        "/ip4/0.0.0.0/tcp/4001", description="Comma-separated addresses that peers connect to (TCP)."
    )
    p2p_public_addresses: Addresses = Field(
        "",
        description="Comma-separated addresses at which others reach it, where P2P_LISTEN has others.",
    )
    p2p_bootstrap: Peers = Field(
        "",
        description=(
            "Comma-separated addresses of peers to begin with, each with its id:"
            " /ip4/10.0.0.7/tcp/4001/p2p/12D3… Those that they reach are learned from them."
        ),
    )
    p2p_mdns: bool = Field(
        False, description="Also find peers on the local network (mDNS). Containers mostly let none through."
    )
    p2p_network: str = Field(
        "lovage", pattern=r"^[a-z0-9]{1,11}$", description="The network's name for P2P_MDNS."
    )
    p2p_name: str = Field(
        "", max_length=64, description="What others call this peer. Empty: the host's name."
    )
    p2p_api_key: Secret = Field(
        "",
        description=(
            "An API key (scope `predict`) of the user as whom peers' predictions run here, within its limits."
            " Empty: this peer only asks."
        ),
    )
    p2p_api_url: str = Field(
        "", description="The API for P2P_API_KEY. Empty: API_PORT on this machine, over plain HTTP."
    )
    p2p_models: ModelNames = Field(
        "",
        description=(
            "Comma-separated owner/name of the models that peers may use. Empty: all that the user of"
            " P2P_API_KEY sees and that run on this platform's own devices."
        ),
    )
    p2p_concurrency: int = Field(
        8, ge=1, le=1_000, description="Most predictions of peers that run here at once; others go elsewhere."
    )
    p2p_silence_seconds: float = Field(
        5,
        ge=2,
        le=60,
        description=(
            "A peer that says nothing for so long has failed; a prediction is tried at three peers at most."
        ),
    )
    p2p_python: Path | None = Field(
        None,
        description=(
            "A Python that has the packages of the extra `p2p`, where Lovage's own has not: the extras"
            " `p2p` and `grpc` need different versions of protobuf."
        ),
    )
