"""Ids as a person types them: the beginning of one is enough, as long as it is the beginning of one only."""

from collections.abc import Sequence

from app.cli.connection import EXIT_USAGE, Api, split_model, stop

ID_LENGTH = 26  # characters of a prediction's id
VERSION_LENGTH = 64  # of a version's
LATEST = 500  # predictions among which a beginning is looked for


def find_prediction(api: Api, text: str) -> str:
    """The whole id of one of the caller's latest predictions; a text as long as an id stays as it is."""
    if len(text) >= ID_LENGTH:
        return text
    ids = [row["id"] for row in api.every("/v1/predictions", most=LATEST) if row["id"].startswith(text)]
    return _only(ids, text, f"of your latest {LATEST} predictions")


def find_version(api: Api, model: str) -> str:
    """`owner/name:abc` with the version's whole id; anything else as it is."""
    if ":" not in model:
        return model
    path, version = split_model(model)
    if len(version) >= VERSION_LENGTH:
        return model
    rows = api.every(f"/v1/models/{path}/versions")
    ids = [row["id"] for row in rows if row["id"].startswith(version)]
    return f"{path}:{_only(ids, version, f'of the versions of {path}')}"


def _only(ids: Sequence[str], text: str, where: str) -> str:
    if len(ids) == 1 and text:
        return ids[0]
    if not ids or not text:
        stop(f"{text!r}: no id {where} begins with it", EXIT_USAGE)
    shown = ", ".join(each[: len(text) + 6] + "…" for each in ids[:4])
    stop(f"{text}: {len(ids)} ids {where} begin with it: {shown}", EXIT_USAGE)
