"""Which documented operations no suite calls, and why: a test compares this with openapi.json and the suites.

An operation is named, or the beginning of its name that ends in a dot.
"""

OWN = "Lovage's own, so no client of another maker calls it: `lovage` and the web app do, in tests/cli and"
OWN += " tests/end_to_end"
REPLICATE = "Replicate's, called by its clients in tests/api/test_replicate_*.py and tests/end_to_end"
TEI = "called as its clients call it in tests/api/test_rag_api.py; no suite has one of them yet"
NO_CLIENT: dict[str, str] = {
    "account.filekey.": OWN,
    "account.password.": OWN,
    "account.signout": OWN,
    "audit.": OWN,
    "auth.": OWN,
    "backends.": OWN,
    "errors.": OWN,
    "keys.": OWN,
    "users.": OWN,
    "usage.": OWN,
    "workers.": OWN,
    "queue.": OWN,
    "queues.": OWN,
    "runtimes.": OWN,
    "settings.": OWN,
    "statistics.": OWN,
    "models.": REPLICATE,
    "predictions.": REPLICATE,
    "files.": REPLICATE,
    "streams.": REPLICATE,
    "hardware.": REPLICATE,
    "deployments.": REPLICATE,
    "account.get": REPLICATE,
    "webhooks.": "receivers are called, they call nothing: tests/services and tests/end_to_end have one",
    "platform.": "monitors and proxies call it: tests/api/test_platform_api.py and deploy/ do",
    "score.create": "vLLM has no client for it, its users post JSON: tests/api/test_rag_api.py",
    "tei.": TEI,
    "rerank.tei": "the address of Cohere's with TEI's field names: tests/api/test_rag_api.py",
}


def reason_for(operation: str) -> str | None:
    """Why no suite calls it, if there is a reason."""
    if operation in NO_CLIENT:
        return NO_CLIENT[operation]
    return next(
        (NO_CLIENT[name] for name in NO_CLIENT if name.endswith(".") and operation.startswith(name)), None
    )
