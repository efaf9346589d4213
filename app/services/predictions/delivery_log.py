"""What became of a prediction's webhooks: the list of deliveries with their tries, and sending again. Calls
block."""

from app.db import deliveries
from app.db.session import Database
from app.domain.deliveries import Delivery, SentDelivery
from app.domain.errors import Conflict, NotFound, wrong_field
from app.domain.pages import Page
from app.services.people.access import Principal
from app.services.predictions.after_commit import Notifier
from app.services.predictions.prediction_list import whose

NO_DELIVERY = "The requested delivery could not be found."


class DeliveryLog:
    """The caller has checked that the prediction is its own."""

    def __init__(self, database: Database, notifier: Notifier) -> None:
        self._database, self._notifier = database, notifier

    def list_deliveries(self, prediction_id: str, *, cursor: str | None, limit: int) -> Page[Delivery]:
        """A prediction's deliveries in order, each with its tries."""
        with self._database.unit() as session:
            return deliveries.by_prediction(session, prediction_id, cursor=cursor, limit=limit)

    def read_body(self, prediction_id: str, delivery_id: str) -> bytes:
        """What is signed and sent at each try. Raises NotFound."""
        with self._database.unit() as session:
            body = deliveries.body(session, prediction_id, delivery_id)
        if body is None:
            raise NotFound(NO_DELIVERY)
        return body

    def page(
        self,
        principal: Principal,
        *,
        user: str | None = None,
        failed: bool = False,
        cursor: str | None,
        limit: int,
    ) -> Page[SentDelivery]:
        """The caller's deliveries of all predictions, newest first; with `user` somebody else's, for
        administrators. Raises as `PredictionList.page`."""
        with self._database.unit() as session:
            user_id, _ = whose(session, principal, user)
            if user_id is None:
                raise wrong_field("user", "must be the name of one user here")
            return deliveries.list_of_user(session, user_id, failed=failed, cursor=cursor, limit=limit)

    def send_again(self, prediction_id: str, delivery_id: str | None = None) -> list[str]:
        """Makes one delivery, or the newest of all, due now: the same id and body, a new signature. Raises
        NotFound, Conflict for what was tried too often."""
        with self._database.unit() as session:
            again = deliveries.redeliver(session, prediction_id, delivery_id)
            is_any = bool(again) or deliveries.is_any(session, prediction_id, delivery_id)
        if not again and is_any:
            raise Conflict(f"It was tried {deliveries.MOST_TRIES} times, which is the most.")
        if not again and delivery_id is not None:
            raise NotFound(NO_DELIVERY)
        self._notifier.deliveries(again)
        return again
