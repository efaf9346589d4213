"""Who may read a prediction: its owner, and administrators, of whom the audit log keeps it."""

from fastapi import Request

from app.api.deps import note, services_of
from app.domain.errors import NotFound
from app.domain.predictions import Prediction
from app.services.people.access import Principal
from app.services.predictions.follow import NO_PREDICTION


async def readable(request: Request, caller: Principal, prediction_id: str) -> Prediction:
    """The prediction, if the caller may read it. Raises NotFound."""
    services = services_of(request)
    prediction = await services.follower.get(prediction_id)
    if caller.owns(prediction.user_id):
        return prediction
    if not caller.is_operator:
        raise NotFound(NO_PREDICTION)
    if services.people.audit.is_first((caller.user_id, prediction_id)):
        note(request, caller, "prediction.read", prediction_id, of=str(prediction.user_id or "anonymous"))
    return prediction
