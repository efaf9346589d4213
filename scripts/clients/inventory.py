"""Which documented operations no suite calls, and why: a test compares this with openapi.json and the suites.

An operation is named, or the beginning of its name that ends in a dot.
"""

OWN = "Lovage's own, so no client of another maker calls it: `lovage` and the web app do, in tests/cli and"
OWN += " tests/end_to_end"
REPLICATE_LATER = "Replicate's, called by its client in tests/end_to_end/test_replicate_end_to_end.py"
SAME = "the same route function as the operation of a model's own address, which a suite calls"
NO_CLIENT: dict[str, str] = {
    "account.filekey.": OWN,
    "account.password.": OWN,
    "account.signout": OWN,
    "audit.": OWN,
    "auth.": OWN,
    "backends.": OWN,
    "peers.": OWN,
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
    "models.check": OWN,
    "models.pin": OWN,
    "models.unpin": OWN,
    "predictions.events": OWN,
    "models.find": OWN,
    "models.create": OWN,
    "models.update": OWN,
    "models.delete": OWN,
    "models.aliases.": OWN,
    "models.tags.": OWN,
    "models.load": OWN,
    "models.load.": OWN,
    "models.upload": OWN,
    "models.upload.": OWN,
    "models.unload": OWN,
    "models.unload.": OWN,
    "models.routing": OWN,
    "models.examples": REPLICATE_LATER,
    "models.readme": REPLICATE_LATER,
    "models.versions.create": OWN,
    "models.versions.delete": OWN,
    "models.versions.release": OWN,
    "models.versions.stats": OWN,
    "predictions.bulk.": OWN,
    "predictions.delete": OWN,
    "predictions.deliveries.": OWN,
    "predictions.redeliver": OWN,
    "predictions.requeue": OWN,
    "webhooks.": "receivers are called, they call nothing: tests/services and tests/end_to_end have one",
    "files.content": "a signed URL, which browsers open",
    "files.download": "a signed URL, which browsers open",
    "platform.": "monitors and proxies call it: tests/api/test_platform_api.py and deploy/ do",
    "score.create": "vLLM has no client for it, its users post JSON: tests/api/test_rag_api.py",
    "tei.embed": SAME,
    "tei.embed.": SAME,
    "tei.predict": SAME,
    "tei.similarity": SAME,
    "tei.info": "no client asks for it: tests/api/test_rag_api.py",
    "tei.model.info": "no client asks for it: tests/api/test_rag_api.py",
    "tei.model.embed.all": "no client asks for it: tests/api/test_rag_api.py",
    "tei.model.embed.sparse": "no model here answers so: tests/api/test_rag_api.py",
    "tei.rerank": SAME,
    "rerank.tei": "the address of Cohere's with TEI's field names: tests/api/test_rag_api.py",
}


def reason_for(operation: str) -> str | None:
    """Why no suite calls it, if there is a reason."""
    if operation in NO_CLIENT:
        return NO_CLIENT[operation]
    return next(
        (NO_CLIENT[name] for name in NO_CLIENT if name.endswith(".") and operation.startswith(name)), None
    )
