"""This platform's own HTTP API, as the user in whose name peers' predictions run here."""

from collections.abc import AsyncGenerator, Collection
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import trio

from app.domain.peers import BACKEND, BUSY, INPUT, MODEL, MOST_MODELS, SETUP, PeerModel
from app.peers.local_stream import LocalStream, SendPiece, last_message
from app.peers.messages import PeerFailed

CALL_SECONDS = 30.0
WAIT = {"Prefer": "wait=20"}  # the API answers at the end, or after these seconds
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.03, 0.5  # where it answers at once
CANCEL_SECONDS = 5.0
RUNS_ELSEWHERE = "backend"  # the runtime of versions that this platform itself sends elsewhere
KEPT_METRICS = ("prompt_tokens", "output_tokens", "input_tokens", "finish_reason", "predict_time")
FAULTS = {401: SETUP, 403: SETUP, 404: SETUP, 405: SETUP, 408: BACKEND, 429: BUSY, 503: BUSY}


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
        async def look() -> dict[str, Any]:
            return await self._ask("GET", path)

        sent = list[Any]()
        if url := (prediction.get("urls") or {}).get("stream"):
            stream = LocalStream(self._stream_lines, str(url), look, send_piece)
            await stream.pass_on()
            sent = stream.sent
        pause = FIRST_LOOK_SECONDS
        while not prediction.get("completed_at"):
            prediction = await self._ask("GET", path, headers=WAIT)
            await trio.sleep(0 if prediction.get("completed_at") else pause)
            pause = min(LONGEST_LOOK_SECONDS, pause * 1.3)
        metrics = prediction.get("metrics") or {}
        kept = {each: metrics[each] for each in KEPT_METRICS if each in metrics}
        return last_message(check_succeeded(prediction), sent, kept)

    async def _stream_lines(self, path: str, last_id: str) -> AsyncGenerator[str]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            async with self._client.stream("GET", path, params={"pieces": "json"}, headers=headers) as answer:
                if answer.is_success:
                    async for line in answer.aiter_lines():
                        yield line
        except httpx.HTTPError:
            return

    async def _cancel(self, path: str) -> None:
        try:
            await self._ask("POST", f"{path}/cancel", {})
        except PeerFailed:
            return  # it has ended, or nobody answers any more

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, json=body, headers=headers)
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


def check_succeeded(prediction: dict[str, Any]) -> dict[str, Any]:
    """The same. Raises PeerFailed for one that did not succeed."""
    status, error = prediction.get("status"), str(prediction.get("error") or "")
    if status != "succeeded":
        raise PeerFailed(f"ended it as {status}: {error[:300]}", MODEL if status == "failed" else BACKEND)
    return prediction
