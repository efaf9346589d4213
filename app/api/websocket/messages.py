"""Every message of the WebSocket, both ways. The JSON Schemas in docs/reference/websocket/ are made from
these classes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Topic = Literal["inference", "status", "backend", "queue"]
RequestId = Annotated[
    str | None, Field(max_length=64, description="The client's own name for this request; answers repeat it.")
]
PredictionId = Annotated[str, Field(min_length=26, max_length=26)]


class FromClient(BaseModel):
    model_config = ConfigDict(extra="forbid")

    request_id: RequestId = None


class AuthIn(FromClient):
    """The first message of a client that sent no credential with the handshake."""

    type: Literal["auth"]
    token: str = Field(max_length=4_096)


class InferenceIn(FromClient):
    """Run a model. `stream`: pieces of the output as they come."""

    type: Literal["inference"]
    model: str = Field(
        max_length=300, description="owner/name, owner/name:version, a version's id, an alias, or a bare name"
    )
    inputs: dict[str, Any] | str = Field(description="A text is the model's first text input.")
    stream: bool = False
    on_disconnect: Literal["continue", "cancel"] = Field(
        "continue", description="What becomes of it when this client leaves."
    )


class CancelIn(FromClient):
    """Stop a prediction of one's own."""

    type: Literal["cancel"]
    prediction_id: PredictionId


class SubscribeIn(FromClient):
    type: Literal["subscribe"]
    topics: list[Topic] = Field(min_length=1, max_length=8)


class UnsubscribeIn(FromClient):
    type: Literal["unsubscribe"]
    topics: list[Topic] = Field(min_length=1, max_length=8)


class StatusIn(FromClient):
    """How a prediction stands, or the platform when none is named."""

    type: Literal["status"]
    prediction_id: PredictionId | None = None


class PingIn(FromClient):
    type: Literal["ping"]


class PongIn(FromClient):
    """The answer to the server's ping."""

    type: Literal["pong"]


ClientMessage = Annotated[
    AuthIn | InferenceIn | CancelIn | SubscribeIn | UnsubscribeIn | StatusIn | PingIn | PongIn,
    Field(discriminator="type"),
]
CLIENT: TypeAdapter[Any] = TypeAdapter(ClientMessage)


class FromServer(BaseModel):
    request_id: str | None = None


class WelcomeOut(FromServer):
    """The client is authenticated; now messages are read."""

    type: Literal["welcome"] = "welcome"
    client_id: str
    username: str


class AcceptedOut(FromServer):
    """The prediction is committed: it will end, whatever becomes of this connection."""

    type: Literal["accepted"] = "accepted"
    prediction_id: str
    status: str


class ChunkOut(FromServer):
    """Piece number `index` of the output; text as it is, anything else as JSON."""

    type: Literal["chunk"] = "chunk"
    prediction_id: str
    index: int
    data: str


class RestartOut(FromServer):
    """The output begins anew: all chunks before are void, the next one has index 0."""

    type: Literal["restart"] = "restart"
    prediction_id: str


class ResultOut(FromServer):
    """The end of a prediction: the object that GET /v1/predictions/{id} answers."""

    type: Literal["result"] = "result"
    prediction_id: str
    status: str
    prediction: dict[str, Any]


class SubscribedOut(FromServer):
    """All topics of this client after the change."""

    type: Literal["subscribed"] = "subscribed"
    topics: list[Topic]


class StatusOut(FromServer):
    """The answer to `status`: a prediction, or totals of the platform."""

    type: Literal["status"] = "status"
    prediction: dict[str, Any] | None = None
    platform: dict[str, Any] | None = None


class EventOut(FromServer):
    """An event of a topic. `dropped`: how many before it were left out as this client reads too slowly."""

    type: Literal["event"] = "event"
    topic: Topic
    data: dict[str, Any]
    dropped: int = 0


class PingOut(FromServer):
    """Answer it: a client that is silent for WS_IDLE_SECONDS is disconnected."""

    type: Literal["ping"] = "ping"


class PongOut(FromServer):
    type: Literal["pong"] = "pong"


class ErrorOut(FromServer):
    """What was wrong with a message, with the codes of docs/reference/errors.md; the connection stays."""

    type: Literal["error"] = "error"
    code: str
    detail: str
    field: str | None = None
    retry_after: float | None = None
    prediction_id: str | None = None


ServerMessage = Annotated[
    WelcomeOut
    | AcceptedOut
    | ChunkOut
    | RestartOut
    | ResultOut
    | SubscribedOut
    | StatusOut
    | EventOut
    | PingOut
    | PongOut
    | ErrorOut,
    Field(discriminator="type"),
]
SERVER: TypeAdapter[Any] = TypeAdapter(ServerMessage)
