"""Lists of predictions, what happened to one, and what administrators do with them, with queues and workers:
together."""

from dataclasses import dataclass

from app.services.platform.fleet_operations import FleetOperations
from app.services.predictions.prediction_history import PredictionHistory
from app.services.predictions.prediction_list import PredictionList
from app.services.predictions.queues import Queues
from app.services.predictions.requeue import Requeuer


@dataclass(frozen=True, slots=True)
class Operations:
    """One for each API process."""

    lists: PredictionList
    fleet: FleetOperations
    queues: Queues
    requeuer: Requeuer
    history: PredictionHistory
