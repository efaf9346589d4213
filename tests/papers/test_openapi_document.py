"""The committed OpenAPI document is the one that the routes make."""

import json

from scripts.openapi_document import TARGET, document


def test_the_committed_document_is_current() -> None:
    assert TARGET.read_text("utf-8") == document(), "run: python -m scripts.openapi_document"


def test_operation_ids_are_unique_and_every_error_is_declared() -> None:
    paths = json.loads(document())["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids)) > 40
    for operation in operations:
        if operation["tags"] != ["Platform"]:
            assert {"429", "500", "503"} <= set(operation["responses"]), operation["operationId"]
