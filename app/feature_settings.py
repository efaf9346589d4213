"""The switches of the API's parts. What is off has no routes and no process. Knows no source of settings."""

from pydantic import Field
from pydantic_settings import BaseSettings

from app.setting_types import ModelNames, listed


class FeatureSettings(BaseSettings):
    """Which doors an installation has."""

    enable_web: bool = Field(True, description="Serve the web app at the API's own address.")
    enable_openai: bool = Field(True, description="Serve OpenAI's API (/v1/chat/completions and its like).")
    enable_websocket: bool = Field(True, description="Serve WebSockets at /ws/{client_id}.")
    enable_backends: bool = Field(
        True,
        description=(
            "Serve /v1/backends, and let `lovage up` start a gateway worker. Off: predictions of models that"
            " backends run wait."
        ),
    )
    enable_mcp: bool = Field(
        True,
        description=(
            "Serve the Model Context Protocol at /mcp, for assistants and agents. Needs the extra `mcp`,"
            " which `make up` and the images install."
        ),
    )
    enable_p2p: bool = Field(
        False,
        description=(
            "Serve /v1/peers, and let `lovage up` start `lovage peer`: platforms that run each other's"
            " predictions. Needs the extra `p2p`, and P2P_ALLOWED_PEERS or P2P_SHARED_KEY."
        ),
    )
    mcp_models: ModelNames = Field(
        "", description="Comma-separated owner/name of models that are tools of their own at /mcp."
    )

    @property
    def features(self) -> dict[str, bool]:
        """Each part, and whether it is on."""
        prefix = "enable_"
        names = [name for name in type(self).model_fields if name.startswith(prefix)]
        return {name.removeprefix(prefix): bool(getattr(self, name)) for name in names}

    @property
    def models_as_tools(self) -> tuple[str, ...]:
        return tuple(listed(self.mcp_models))
