"""Ids as a person types them: the beginning of one is enough, as long as it is the beginning of one only."""

import re
from collections.abc import Sequence

from app.cli.connection import EXIT_USAGE, Api, ApiError, split_model, stop
from app.domain.versions import LATEST, is_name

ID_LENGTH = 26  # characters of a prediction's id
VERSION_LENGTH = 64  # of a version's
HEX = re.compile("[0-9a-f]*")
SEARCHED = 500  # predictions among which a beginning is looked for


def find_prediction(api: Api, text: str) -> str:
    """The whole id of one of the caller's latest predictions; a text as long as an id stays as it is."""
    if len(text) >= ID_LENGTH:
        return text
    ids = [row["id"] for row in api.every("/v1/predictions", most=SEARCHED) if row["id"].startswith(text)]
    return _only(ids, text, f"of your latest {SEARCHED} predictions")


def name_version(api: Api, model: str) -> str:
    """What `run` is given, with the version's whole id where a beginning of one stands."""
    path, colon, version = model.partition(":")
    if "/" not in model and not is_name(model):
        stop(
            f"{model}: must be owner/name, owner/name:version, a version's id, an alias, or a name that only"
            " one model has",
            EXIT_USAGE,
        )
    if not colon or path.count("/") != 1 or not HEX.fullmatch(version):
        return model
    return f"{path}:{_whole_version(api, path, version)}"


def find_model(api: Api, model: str) -> tuple[str, str]:
    """The address of a model, which may be named by an alias or without its owner, and the version's whole id
    ("" for the newest)."""
    name, colon, version = model.partition(":")
    if is_name(name):
        named = api.models.get(name)
        model = f"{named['owner']}/{named['name']}{colon}{version}"
    path, version = split_model(model.removesuffix(f":{LATEST}"))
    return path, _whole_version(api, path, version) if version and HEX.fullmatch(version) else version


def _whole_version(api: Api, path: str, beginning: str) -> str:
    if len(beginning) >= VERSION_LENGTH or beginning in [each["name"] for each in list_tags(api, path)]:
        return beginning
    rows = api.models.versions(path)
    ids = [row["id"] for row in rows if row["id"].startswith(beginning)]
    return _only(ids, beginning, f"of the versions of {path}")


def list_tags(api: Api, path: str) -> list[dict[str, str]]:
    """A model's tags; a platform of the release before has none."""
    try:
        tags: list[dict[str, str]] = api.request("GET", f"/v1/models/{path}/tags")["results"]
    except ApiError:
        return []
    return tags


def _only(ids: Sequence[str], text: str, where: str) -> str:
    if len(ids) == 1 and text:
        return ids[0]
    if not ids or not text:
        stop(f"{text!r}: no id {where} begins with it", EXIT_USAGE)
    shown = ", ".join(each[: len(text) + 6] + "…" for each in ids[:4])
    stop(f"{text}: {len(ids)} ids {where} begin with it: {shown}", EXIT_USAGE)
