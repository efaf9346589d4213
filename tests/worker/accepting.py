"""Predictions for a worker's tests: accepted, and looked at as their rows say."""

import secrets
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import prediction_rows

from app.db import predictions as table
from app.db.tables import ModelRow, VersionRow
from app.domain.predictions import Prediction
from app.runtimes import registry


def row(version: str, **given: Any) -> dict[str, Any]:
    return prediction_rows.row(version_id=version, model="ada/echo", input=given)


def accept(parts: SimpleNamespace, *inputs: dict[str, Any], version: str = "") -> list[str]:
    """Their ids; of echo, if no other version is named."""
    return list(parts.core.lifecycle.accept([row(version or parts.version, **given) for given in inputs]))


def rows(parts: SimpleNamespace, ids: list[str]) -> list[Prediction]:
    with parts.core.database.unit() as session:
        found = table.get(session, ids)
    return [found[one] for one in ids]


def all_ended(parts: SimpleNamespace, ids: list[str]) -> Callable[[], bool]:
    return lambda: all(one.ended for one in rows(parts, ids))


def add_version(parts: SimpleNamespace, runtime: str, source: str = "none", **config: Any) -> str:
    """The id of a version that the engine, which all tests share, has never loaded."""
    spec = next(spec for spec in registry.specs() if spec.name == runtime)
    version = secrets.token_hex(32)
    with parts.core.database.unit() as session:
        [model] = session.query(ModelRow).all()
        session.add(
            VersionRow(
                id=version,
                model_id=model.id,
                source=source,
                runtime=runtime,
                config=config,
                input_schema=spec.input_schema(""),
                output_schema=spec.outputs[""],
                streams=spec.streams,
            )
        )
    return version
