"""Brings up a model process: forks, sends it what to load, waits until it is ready. Knows no work and no
health."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from app.domain.errors import ModelUnavailable
from app.domain.work import ModelSpec
from app.engine.environments import Environments
from app.engine.fork_client import ForkServerDied
from app.engine.model_link import DiedLoadingError, ModelLink, Owner
from app.package_environment import BUILD_SECONDS

log = logging.getLogger(__name__)

FORK_TRIES = 3
# Importing torch, transformers and diffusers took 12 s on a busy machine.
FORK_SECONDS = 120.0


class ModelLoader:
    """Thread-safe. `environments` have the fork server of each version; `load_message`: what a version's
    process gets first; `setup_seconds`: the longest load."""

    def __init__(
        self,
        environments: Environments,
        load_message: Callable[[ModelSpec], dict[str, Any]],
        setup_seconds: float,
    ) -> None:
        self._environments, self._load_message = environments, load_message
        self._setup_seconds = setup_seconds

    @property
    def longest_seconds(self) -> float:
        """How long a load may take, the fork included."""
        return self._setup_seconds + FORK_SECONDS + BUILD_SECONDS

    def preload(self, names: Sequence[str]) -> None:
        """Has the usual fork server import these modules for the loads to come."""
        self._environments.usual.preload(names)

    def load(
        self, spec: ModelSpec, owner: Owner, attach: Callable[[ModelLink], bool]
    ) -> tuple[ModelLink, dict[str, Any]]:
        """Blocks until the process is ready; the link and its `ready` message. `attach` gets the link as soon
        as there is a process, and says whether it is still of use.

        Raises ModelUnavailable, and OSError, TimeoutError or ForkServerDied when there is no process for it.
        """
        try:
            return self._try_to_load(spec, owner, attach)
        except DiedLoadingError as error:  # it may have been killed for reasons that are not the model's
            log.warning("loading %s again: %s", spec.version, error)
            return self._try_to_load(spec, owner, attach)

    def _try_to_load(
        self, spec: ModelSpec, owner: Owner, attach: Callable[[ModelLink], bool]
    ) -> tuple[ModelLink, dict[str, Any]]:
        link = self._fork(spec, owner)
        if not attach(link):
            link.close(0.0)
            raise ModelUnavailable("the engine is stopping")
        link.send(["load", self._load_message(spec)])
        return link, self._wait_until_ready(link)

    def _fork(self, spec: ModelSpec, owner: Owner) -> ModelLink:
        client = self._environments.client_for(spec)
        for _ in range(FORK_TRIES - 1):
            try:
                return ModelLink(client, owner, FORK_SECONDS)
            except ForkServerDied as error:
                log.warning("forking %s again: %s", spec.version, error)
        return ModelLink(client, owner, FORK_SECONDS)

    def _wait_until_ready(self, link: ModelLink) -> dict[str, Any]:
        try:
            return link.ready.result(self._setup_seconds)
        except TimeoutError:
            link.expected = True
            link.kill()
            raise ModelUnavailable(f"loading took longer than {self._setup_seconds:g} s") from None
