"""The first start: what runtimes there are, an administrator with an API key, and the demo models. Safe to
run again."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app import composition, composition_people
from app.db import keys, users
from app.db.session import Database, connect
from app.domain.errors import NotFound
from app.local.secret_file import write_private
from app.runtimes import registry
from app.runtimes.demo import demo_minilm_folder, shipped_folder, shipped_readme
from app.services.catalogue import runtime_index
from app.services.catalogue.catalogue import Catalogue
from app.services.catalogue.model_versions import ModelVersions
from app.services.catalogue.version_request import VersionRequest
from app.services.people.access import SCOPES, Principal, digest
from app.services.people.api_keys import ApiKeys
from app.services.people.passwords import new_password
from app.settings import Settings

ADMIN, ADMIN_EMAIL = "admin", "admin@lovage.example"
KEY_FILE, PASSWORD_FILE = "key", "admin-password"
OWNER = "demo"


def bootstrap(settings: Settings) -> None:
    """Adds what is missing and leaves what is there."""
    runtimes = registry.list_all(settings.runtime_folders)
    database = Database(connect(settings.database_url, pool=2, application="lovage-bootstrap"))
    try:
        with database.unit() as session:
            runtime_index.write(session, runtimes)
        settings.lovage_data_dir.mkdir(parents=True, exist_ok=True)
        principal = asyncio.run(_admin(settings, database))
        _demo_models(settings, database, principal)
    finally:
        database.close()


async def _admin(settings: Settings, database: Database) -> Principal:
    with ThreadPoolExecutor(1) as threads:
        people = composition_people.build_people(settings, database, threads)
        with database.unit() as session:
            user = users.first_administrator(session)
        if user is None:
            password = new_password()
            user = people.accounts.create(ADMIN_EMAIL, ADMIN, password, is_admin=True)
            write_private(settings.lovage_data_dir / PASSWORD_FILE, password + "\n")
        key_file = settings.lovage_data_dir / KEY_FILE
        if not _key_works(database, key_file):
            issued = ApiKeys(database, people.access).issue(user.id, "lovage up", SCOPES)
            write_private(key_file, issued.secret + "\n")
        await people.access.close()
    return Principal(user.id, user.username, frozenset(SCOPES), is_admin=True)


def _key_works(database: Database, key_file: Path) -> bool:
    """Whether it is an administrator's who is not disabled."""
    if not key_file.is_file():
        return False
    with database.unit() as session:
        pairs = keys.by_hashes(session, [digest(key_file.read_text().strip())])
    return any(user.is_admin and user.disabled_at is None for _, user in pairs.values())


def _demo_models(settings: Settings, database: Database, principal: Principal) -> None:
    maker = composition.build_version_maker(settings, database)
    catalogue, versions = Catalogue(database, maker), ModelVersions(database, maker)
    for name, (description, version) in demo_versions().items():
        values: dict[str, Any] = {"visibility": "public", "description": description}
        values |= {"readme": shipped_readme(name)}
        try:
            catalogue.get(
                principal, OWNER, name
            )  # asked first: Postgres logs a name that is taken as an error
            versions.add(principal, OWNER, name, version)
        except NotFound:
            catalogue.create(principal, OWNER, name, values, version)


def demo_versions() -> dict[str, tuple[str, VersionRequest]]:
    """The demo models whose files are on this machine, by name."""
    minilm = demo_minilm_folder()
    words, digits = shipped_folder("words"), shipped_folder("digits")
    versions = {
        "echo": (
            "Answers what it is sent; for trying things out.",
            VersionRequest("none", "echo", config={"joins": True}),
        )
    }
    if minilm:
        versions["minilm"] = (
            "Turns a text into 384 numbers (all-MiniLM-L6-v2).",
            VersionRequest(f"path:{minilm}", "embedding"),
        )
    if words:
        text = "Continues a text in the manner of nineteenth-century novels."
        versions["words"] = (text, VersionRequest(f"path:{words}", "text-generation"))
    if digits:
        config = {"default_steps": 20, "default_guidance": 3.0}
        versions["digits"] = (
            "Draws a handwritten digit.",
            VersionRequest(f"path:{digits}", "image-generation", config=config),
        )
    return versions
