"""Which addresses make predictions: their calls count as creations, and their bodies may hold large inputs.
Knows no route."""

# Beside those that end in `/predictions`: calls of other platforms' clients.
ADDRESSES = frozenset(
    {
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/audio/speech",
        "/v1/moderations",
        "/v1/responses",
        "/v1/messages",
        "/api/generate",
        "/api/chat",
        "/api/embed",
        "/api/embeddings",
        "/v1/rerank",
        "/v2/rerank",
        "/v1/score",
        "/rerank",
        "/embed",
        "/embed_all",
        "/embed_sparse",
        "/similarity",
        "/predict",
    }
)
BASES = ("/tei/",)
# The Open Inference Protocol has its verbs at the end.
OIP_BASE, OIP_VERBS = "/v2/models/", ("/infer", "/generate", "/generate_stream")
MCP = "/mcp"  # some of its calls do: those count themselves


def makes_predictions(path: str) -> bool:
    """Whether a POST to it creates predictions."""
    if path.startswith(OIP_BASE):
        return path.endswith(OIP_VERBS)
    return path.endswith("/predictions") or path in ADDRESSES or path.startswith(BASES)


def takes_large_bodies(path: str) -> bool:
    """Whether a body to it may hold a large input."""
    return path == MCP or makes_predictions(path)
