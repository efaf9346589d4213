"""The prediction as callers see it: one function for GET, lists, webhooks and streams. Knows no HTTP and no
database.

The shape is Replicate's prediction object; times are ISO 8601 with Z, output files are signed URLs made
afresh each time.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from app.domain.phases import DIGITS, phases
from app.domain.predictions import ASKED, HIDDEN, RESPONSE, Prediction, Status, is_id
from app.domain.timestamps import timestamp
from app.domain.work import file_out, list_files, map_files
from app.storage.base import Storage

NOT_POLICY = (*ASKED, *HIDDEN, RESPONSE)
TOKEN_BYTES = 18  # of the stream token's signature: 144 bits


def own_files(prediction: Prediction) -> list[str]:
    """The storage keys of the files in its output; of this very prediction's alone."""
    return [key for key in list_files(prediction.output) if key.startswith(output_prefix(prediction.id))]


def output_prefix(prediction_id: str) -> str:
    """Where in the storage all files of a prediction's attempts live."""
    return f"outputs/{prediction_id}/"


class PredictionView:
    """Renders predictions. Where no request says how the API is reached (webhooks), it is `public_url`, else
    what the caller's own request said (`Prediction.base_url`)."""

    def __init__(self, storage: Storage, secret: str, public_url: str, file_url_seconds: int) -> None:
        self._storage = storage
        self._key = hashlib.sha256(b"lovage stream token\x00" + secret.encode()).digest()
        self._public_url = public_url
        self._seconds = file_url_seconds

    def render(
        self,
        prediction: Prediction,
        base_url: str = "",
        *,
        as_starting: bool = False,
        values: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The public object. `as_starting`: what a `Prefer: wait` that ran out answers, because clients take
        any other status for the end. `values` stand for those that are not here; without them these are null
        (logs: empty), and `left_out` names them."""
        base = self.base_for(prediction, base_url)
        shown, status = prediction.ended or not as_starting, prediction.shown_status
        not_here, others = prediction.not_here, values or {}
        answer: dict[str, Any] = {
            "id": prediction.id,
            "model": prediction.model,
            "version": prediction.version_id,
            "status": status if shown else Status.STARTING,
            "input": others.get("input") if "input" in not_here else prediction.input,
            "output": None,
            # The reason of a cancel is known before it has worked.
            "error": prediction.error if prediction.ended else None,
            "logs": prediction.logs,
            "metrics": metrics(prediction),
            "created_at": timestamp(prediction.created_at),
            "started_at": timestamp(None if status is Status.STARTING else prediction.started_at),
            "completed_at": timestamp(prediction.completed_at),
            "source": prediction.source,
            "data_removed": prediction.data_removed_at is not None,
            "urls": self._urls(prediction, base),
        }
        if shown and "output" in not_here:
            answer["output"] = others.get("output")
        elif shown:
            answer["output"] = self.with_links(prediction.output, prediction.id, base)
        if not_here and values is None:
            answer["left_out"] = list(not_here)
        self._add_details(answer, prediction)
        return answer

    def base_for(self, prediction: Prediction, base_url: str = "") -> str:
        """What URLs begin with."""
        return base_url or self._public_url or prediction.base_url

    @staticmethod
    def _add_details(answer: dict[str, Any], prediction: Prediction) -> None:
        if prediction.error_code:
            answer["error_code"] = prediction.error_code
        if prediction.progress and not prediction.ended:
            answer["progress"] = prediction.progress
        if prediction.deadline:
            answer["deadline"] = timestamp(prediction.deadline)
        if prediction.timeout:
            answer["timeout"] = prediction.timeout
        if prediction.routing:
            answer["routing"] = {
                name: value for name, value in prediction.routing.items() if name not in NOT_POLICY
            }
            answer |= {name: prediction.routing[name] for name in ASKED if name in prediction.routing}
        if prediction.webhook:
            answer["webhook"] = prediction.webhook
            answer["webhook_events_filter"] = prediction.webhook_events

    def _urls(self, prediction: Prediction, base: str) -> dict[str, str]:
        own = f"{base}/v1/predictions/{prediction.id}"
        urls = {"get": own, "cancel": f"{own}/cancel", "web": f"{base}/p/{prediction.id}"}
        if prediction.stream:  # the key is left out, never null: one client refuses a null
            urls["stream"] = f"{base}/v1/streams/{self.stream_token(prediction.id)}"
        return urls

    def with_links(self, output: Any, prediction_id: str, base_url: str) -> Any:
        """The output with its stored files replaced by signed URLs. Only files of this very prediction are
        signed, whatever a model may have put into its output."""
        base = base_url or self._public_url

        def url(key: str) -> Any:
            is_own = key.startswith(output_prefix(prediction_id))
            return self._storage.url(key, self._seconds, base) if is_own else file_out(key)

        return map_files(output, url)

    def stream_token(self, prediction_id: str) -> str:
        """An opaque token that is the right to read this prediction's stream, so that browsers need no
        other."""
        mac = hmac.new(self._key, prediction_id.encode(), hashlib.sha256).digest()[:TOKEN_BYTES]
        return prediction_id + base64.urlsafe_b64encode(mac).decode()

    def id_from_stream_token(self, token: str) -> str | None:
        """The prediction's id, or None when the token was not made here."""
        prediction_id = token[:26]
        good = is_id(prediction_id) and hmac.compare_digest(
            token.encode(), self.stream_token(prediction_id).encode()
        )
        return prediction_id if good else None


def metrics(prediction: Prediction) -> dict[str, Any]:
    """What the worker measured; of an ended prediction the seconds of each phase, which add up to
    `total_time`. That one and `predict_time` are what Replicate's clients read."""
    if prediction.completed_at is None:
        return dict(prediction.metrics)
    seconds = phases(prediction)
    # The phases come first, and their values count.
    shown: dict[str, Any] = {**seconds, **prediction.metrics, **seconds}
    if prediction.started_at is not None:
        shown["predict_time"] = shown["run"]
    shown["total_time"] = round((prediction.completed_at - prediction.created_at).total_seconds(), DIGITS)
    return shown
