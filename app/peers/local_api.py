"""This platform's own HTTP API, as the user in whose name peers' predictions run here."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import trio

from app.domain.peers import BACKEND, BUSY, INPUT, MODEL, MOST_MODELS, SETUP, PeerModel
from app.peers.messages import PeerFailed

CALL_SECONDS = 30.0
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.03, 0.5
CANCEL_SECONDS = 5.0
RUNS_ELSEWHERE = "backend"  # the runtime of versions that this platform itself sends elsewhere
KEPT_METRICS = ("prompt_tokens", "output_tokens", "input_tokens", "finish_reason", "predict_time")
FAULTS = {401: SETUP, 403: SETUP, 404: SETUP, 405: SETUP, 408: BACKEND, 429: BUSY, 503: BUSY}

SendPiece = Callable[[Any], Awaitable[None]]


class LocalApi:
    """`names`: the models that peers may use; none: all that the user sees and that run on this platform's
    own devices. Raises PeerFailed."""

    def __init__(self, url: str, key: str, names: Collection[str]) -> None:
        headers = {"Authorization": f"Bearer {key}", "User-Agent": "Lovage peer"}
        self._client = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=CALL_SECONDS, trust_env=False, follow_redirects=False
        )
        self._names = frozenset(names)

    async def list_models(self) -> tuple[PeerModel, ...]:
        path, models = "/v1/models?limit=100", list[PeerModel]()
        while path and len(models) < MOST_MODELS:
            page = await self._ask("GET", path)
            for each in page.get("results") or ():
                version = each.get("latest_version")
                name = f"{each['owner']}/{each['name']}"
                if version and self._is_offered(name, version["runtime"]):
                    models.append(PeerModel(name, version["id"], version["task"], bool(version["streams"])))
            path = f"/v1/models?{urlsplit(page['next']).query}" if page.get("next") else ""
        return tuple(models[:MOST_MODELS])

    def _is_offered(self, name: str, runtime: str) -> bool:
        return name in self._names if self._names else runtime != RUNS_ELSEWHERE

    async def describe(self, name: str) -> dict[str, Any]:
        """The schemas of a model's newest version."""
        shown = await self._ask("GET", f"/v1/models/{quote(name)}")
        version = shown["latest_version"]
        schemas = version["openapi_schema"]["components"]["schemas"]
        return {"name": name, "version": version["id"], "schemas": schemas, "streams": version["streams"]}

    async def run(self, model: str, values: dict[str, Any], send_piece: SendPiece) -> dict[str, Any]:
        """Runs a prediction to its end, and answers the last message for the peer. Cancelled, it is canceled
        here."""
        prediction = await self._ask("POST", "/v1/predictions", {"version": model, "input": values})
        path = f"/v1/predictions/{quote(str(prediction.get('id')))}"
        try:
            return await self._follow(path, prediction, send_piece)
        except (trio.Cancelled, PeerFailed):
            with trio.move_on_after(CANCEL_SECONDS, shield=True):
                await self._cancel(path)
            raise

    async def _follow(self, path: str, prediction: dict[str, Any], send_piece: SendPiece) -> dict[str, Any]:
        sent, pause = list[Any](), FIRST_LOOK_SECONDS
        while True:
            if fresh := new_pieces(prediction, sent):
                for piece in fresh:
                    await send_piece(piece)
                sent += fresh
                pause = FIRST_LOOK_SECONDS
            if prediction.get("completed_at"):
                return last_message(prediction, len(sent))
            await trio.sleep(pause)
            pause = min(LONGEST_LOOK_SECONDS, pause * 1.3)
            prediction = await self._ask("GET", path)

    async def _cancel(self, path: str) -> None:
        try:
            await self._ask("POST", f"{path}/cancel", {})
        except PeerFailed:
            return  # it has ended, or nobody answers any more

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, json=body)
            value = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise PeerFailed(f"has no answer of its own platform ({type(error).__name__})") from error
        if answer.status_code >= 300 or not isinstance(value, dict):
            raise refused(answer.status_code, value)
        return value


def refused(status: int, body: Any) -> PeerFailed:
    """What its platform's answer means for whoever asked."""
    words = str(body.get("detail") or body.get("error") or "")[:300] if isinstance(body, dict) else ""
    fault = FAULTS.get(status, INPUT if 400 <= status < 500 else BACKEND)
    return PeerFailed(f"answered {status}" + (f": {words}" if words else ""), fault)


def new_pieces(prediction: dict[str, Any], sent: list[Any]) -> list[Any]:
    """What has come since; nothing where the model does not stream. Raises PeerFailed where the output is
    another one than what was sent."""
    pieces = prediction.get("output")
    if not isinstance(pieces, list) or not (prediction.get("urls") or {}).get("stream"):
        if sent:
            raise PeerFailed("began its output anew")
        return []
    if pieces[: len(sent)] != sent:
        raise PeerFailed("began its output anew")
    return pieces[len(sent) :]


def last_message(prediction: dict[str, Any], sent: int) -> dict[str, Any]:
    """Raises PeerFailed for one that did not succeed."""
    status, error = prediction.get("status"), str(prediction.get("error") or "")
    if status != "succeeded":
        raise PeerFailed(f"ended it as {status}: {error[:300]}", MODEL if status == "failed" else BACKEND)
    metrics = prediction.get("metrics") or {}
    message = {
        "done": True,
        "pieces": sent,
        "metrics": {each: metrics[each] for each in KEPT_METRICS if each in metrics},
    }
    return message if sent else {**message, "output": prediction.get("output")}
