"""The usual style, as the bench's baseline: a synchronous SQLAlchemy session for each request, `apply_async`
in the handler.

Same Postgres, same Redis, the same table; run by uvicorn as `scripts.bench.baseline_app:app`.
"""

import time
from typing import Any

from celery import Celery
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker

from app.db.tables import PredictionRow
from app.domain.predictions import new_id
from app.settings import load

settings = load()
engine = create_engine(settings.database_url, pool_size=16)
make_session = sessionmaker(engine)
celery = Celery("baseline", broker=settings.redis_url)
app = FastAPI()


class PredictionIn(BaseModel):
    """What a caller posts."""

    version: str
    input: dict[str, Any]


def session() -> Any:
    """A session for each request."""
    with make_session() as opened:
        yield opened


@app.post("/v1/predictions", status_code=201)
def create(body: PredictionIn, db: Session = Depends(session)) -> dict[str, Any]:
    """Insert, commit, enqueue, answer."""
    row = PredictionRow(
        id=new_id(time.time_ns() // 1_000_000),
        version_id="b" * 64,
        model=body.version,
        queue="baseline",
        input=body.input,
    )
    db.add(row)
    db.commit()
    db.refresh(row)
    celery.send_task("baseline.predict", args=[row.id], task_id=row.id, queue="baseline")
    return {"id": row.id, "status": row.status, "input": row.input, "created_at": row.created_at.isoformat()}
