"""What routes need from the process and from the request: services, caller, base URL, page parameters."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from anyio import CapacityLimiter
from fastapi import Depends, Header, Query, Request
from fastapi.requests import HTTPConnection

from app.api import headers
from app.api.body_gate import BodyGate
from app.api.connection_counts import ConnectionCounts
from app.api.creating_addresses import makes_predictions
from app.api.proxies import HOST, PREFIX, ProxyCheck
from app.byte_budget import OwnByteBudgets
from app.domain.errors import InvalidRequest, Unauthenticated, wrong_field
from app.events.model_commands import ModelCommandPublisher
from app.outbound.addresses import AddressPolicy
from app.services.backends.services import BackendServices
from app.services.catalogue.catalogue import Catalogue
from app.services.catalogue.deployments import Deployments
from app.services.catalogue.model_names import ModelNames
from app.services.catalogue.model_versions import ModelVersions
from app.services.catalogue.runnable import Runnables
from app.services.catalogue.runtime_index import RuntimeIndex
from app.services.catalogue.version_stats import VersionStats
from app.services.files.files import Files
from app.services.people.access import Principal
from app.services.people.audit import Origin
from app.services.people.login_tries import network_of
from app.services.people.people import People
from app.services.people.rate_limits import RateLimits, TooManyCalls
from app.services.platform.fleet import Fleet
from app.services.platform.health import Health
from app.services.platform.metrics import ApiMetrics
from app.services.platform.statistics import Statistics
from app.services.predictions.bulk import Bulk
from app.services.predictions.data_removal import DataRemoval
from app.services.predictions.delivery_log import DeliveryLog
from app.services.predictions.disconnects import Disconnects
from app.services.predictions.follow import Follower
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.operations import Operations
from app.services.predictions.prediction_view import PredictionView
from app.services.predictions.queue_position import QueuePositions
from app.services.predictions.submit import Submitter
from app.services.predictions.subscriptions import Subscriptions
from app.services.predictions.whole_answers import WholeAnswers
from app.setting_types import ShownSetting
from app.storage.base import Storage

UNSENT_BYTES = 32_000_000  # of long predictions that one user's WebSockets have not taken yet
HUB_LOOKUPS, HUB_LOOKUPS_EACH = 4, 2  # models of the hub that are being registered: of all, of one caller
TOO_MANY_LOOKUPS = "You may register {} models of the hub at once. Try again when one is registered."


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """The settings that routes read. See app/setting_groups.py and setting_limits.py for each."""

    public_url: str
    refuse_unknown_inputs: bool
    allow_anonymous: bool
    allow_registration: bool
    addresses: AddressPolicy
    file_url_seconds: int
    metrics: bool
    metrics_token: str
    max_body_bytes: int
    ws_idle_seconds: float
    ws_recheck_seconds: float
    flower_url: str
    shown_settings: tuple[ShownSetting, ...] = ()


@dataclass(slots=True)
class Services:
    """The one container of a process's services; built by app/composition.py."""

    options: ApiOptions
    bodies: BodyGate
    sockets: ConnectionCounts
    people: People
    catalogue: Catalogue
    versions: ModelVersions
    runnables: Runnables
    model_names: ModelNames
    backends: BackendServices
    deployments: Deployments
    files: Files
    deliveries: DeliveryLog
    health: Health
    removal: DataRemoval
    limits: RateLimits
    subscriptions: Subscriptions
    stats: VersionStats
    statistics: Statistics
    bulk: Bulk
    runtimes: RuntimeIndex
    metrics: ApiMetrics
    fleet: Fleet
    submitter: Submitter
    follower: Follower
    operations: Operations
    positions: QueuePositions
    disconnects: Disconnects
    model_commands: ModelCommandPublisher
    lifecycle: Lifecycle
    view: PredictionView
    answers: WholeAnswers
    storage: Storage
    unsent: OwnByteBudgets = field(default_factory=lambda: OwnByteBudgets(UNSENT_BYTES))
    proxy_check: ProxyCheck = field(default_factory=ProxyCheck)
    hub_lookups: ConnectionCounts = field(
        default_factory=lambda: ConnectionCounts(HUB_LOOKUPS_EACH, TOO_MANY_LOOKUPS)
    )
    hub_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(HUB_LOOKUPS))


def services_of(request: HTTPConnection) -> Services:
    """The process's services, from the lifespan's state, which is a plain dict: each request asks some ten
    times, and `app.state` would cost a failed look-up each time."""
    services: Services = request.scope["state"]["services"]
    return services


ANTHROPIC = ("/v1/messages", "/v1/models")  # the addresses that their clients call


async def caller_of(request: Request) -> Principal:
    """Who calls; the call counts towards the caller's limits. Raises Unauthenticated, TooMany."""
    if known := request.scope.get("caller"):
        return known  # type: ignore[no-any-return]
    services = services_of(request)
    try:
        caller = await services.people.access.principal(credential_of(request))
    except Unauthenticated:
        limited_by_address(request)
        raise
    count_calls(request, caller, policy_of(request.method, request.scope["path"]))
    request.scope["caller"] = caller
    return caller


def count_calls(request: Request, caller: Principal, policy: str, amount: int = 1) -> None:
    """So many more of a caller's. One call that makes several predictions counts as several."""
    name = str(caller.user_id) if caller.user_id else network_of(address_of(request))
    count_call(request, policy, name, amount)
    if caller.key_id:
        count_call(request, "key", str(caller.key_id), amount)


def credential_of(request: Request) -> str | None:
    """The header that says who calls: `Authorization`, or `x-api-key` where Anthropic's clients call."""
    header = request.headers.get("authorization")
    if header is not None or not request.scope["path"].startswith(ANTHROPIC):
        return header
    key = request.headers.get("x-api-key")
    return f"Bearer {key}" if key else None


def policy_of(method: str, path: str) -> str:
    """`creates` for calls that make predictions, `calls` for all others."""
    return "creates" if method == "POST" and makes_predictions(path) else "calls"


def count_call(request: Request, policy: str, name: str, amount: int = 1) -> None:
    """So many calls more. The middleware writes the standing into the answer's headers."""
    try:
        standing = services_of(request).limits.count(policy, name, amount)
    except TooManyCalls as error:
        request.scope["limited"] = error.standing
        raise
    if standing is not None:
        request.scope["limited"] = standing


def limited_by_address(request: Request) -> None:
    """A dependency of routes that know no caller; counts a call once."""
    if not request.scope.get("counted"):
        request.scope["counted"] = True
        count_call(request, "calls", network_of(address_of(request)))


def limited_registrations(request: Request) -> None:
    """The same of the route that creates accounts for anybody."""
    limited_by_address(request)
    count_call(request, "registrations", network_of(address_of(request)))


def address_of(request: HTTPConnection) -> str:
    """The caller's address; behind TRUSTED_PROXIES, the one that they name."""
    address = request.client.host if request.client else "unknown"
    if forwarded := request.headers.get("x-forwarded-for"):
        services_of(request).proxy_check.look(address, forwarded)
    return address


def origin_of(request: Request) -> Origin:
    """For the audit log."""
    return Origin(address_of(request), str(request.scope.get("request_id", "")))


def note(request: Request, caller: Principal, action: str, target: str, **details: Any) -> None:
    """What a known caller has done, for the audit log."""
    services_of(request).people.audit.note(
        action, caller.username, target, origin_of(request), caller.user_id, **details
    )


def scoped(scope: str) -> Any:
    """A dependency: the caller, who must have this scope."""

    async def caller_with_scope(request: Request) -> Principal:
        caller = await caller_of(request)
        caller.need(scope)
        return caller

    return Depends(caller_with_scope)


def base_url(request: HTTPConnection) -> str:
    """How the caller reaches us: PUBLIC_URL, or the request's own Host (only if it looks like one), and what
    a trusted proxy says."""
    public = services_of(request).options.public_url
    if public:
        return public
    host = request.headers.get("host") or "localhost"
    if not HOST.match(host):
        raise InvalidRequest("The Host header is not a host.")
    scheme = request.scope["scheme"].replace("ws", "http")
    return f"{scheme}://{host}{request.scope.get(PREFIX, '')}"


def as_utc(moment: datetime) -> datetime:
    """Times without a zone are UTC. Postgres knows fewer zones than Python, so it sees none. Raises
    ValueError."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is before the year 1 or after the year 9999") from None


def in_utc(field: str, moment: datetime | None) -> datetime | None:
    """The same of a parameter that may be left out. Raises InvalidRequest naming it."""
    try:
        return moment and as_utc(moment)
    except ValueError as error:
        raise wrong_field(field, str(error)) from None


def link(request: Request, cursor: str | None, relation: Literal["prev", "next"]) -> str | None:
    """The absolute URL of a page beside this one: the same query with another cursor. The answer's header
    `Link` has it, too."""
    if cursor is None:
        return None
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    url = f"{base_url(request)}{request.url.path}?{urlencode([*kept, ('cursor', cursor)])}"
    request.scope.setdefault(headers.LINKS, []).append(f'<{url}>; rel="{relation}"')
    return url


def _idempotency_key(
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description=(
                "Sent again with the same request within 24 hours, it answers with what the first request"
                " created; with another request, 422. Each operation and account has keys of its own."
            ),
            json_schema_extra={"maxLength": 255, "pattern": "^[!-~]{1,255}$"},
        ),
    ] = None,
) -> str | None:
    return headers.idempotency_key(key)


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
ServicesDep = Annotated[Services, Depends(services_of)]
Caller = Annotated[Principal, Depends(caller_of)]
CanPredict = Annotated[Principal, scoped("predict")]
CanModel = Annotated[Principal, scoped("models")]
BaseUrl = Annotated[str, Depends(base_url)]
Cursor = Annotated[
    str | None, Query(description="From `next` or `previous` of another page.", max_length=500)
]
Limit = Annotated[int, Query(description="Results on a page.", ge=1, le=100)]
