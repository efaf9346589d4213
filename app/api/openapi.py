"""The OpenAPI document: what FastAPI makes of the routes, plus credentials, the models of hand-written
routes and an example of every answer."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.api.answer_examples import add_examples
from app.api.problems import Problem

TAGS = [
    {"name": "Predictions", "description": "Run a model: create, poll, stream, list, cancel."},
    {"name": "Models", "description": "Register models and their versions."},
    {
        "name": "Deployments",
        "description": "Names of your own for a model's version, to run predictions with.",
    },
    {"name": "Files", "description": "Upload inputs; read outputs by signed URLs."},
    {"name": "Webhooks", "description": "Receive events; see and repeat deliveries."},
    {"name": "OpenAI", "description": "OpenAI's API over the same models; each call is a prediction."},
    {"name": "Anthropic", "description": "Anthropic's Messages API over the same models."},
    {"name": "Ollama", "description": "Ollama's API over the same models."},
    {"name": "Rerank", "description": "Reranking in Cohere's, Jina's, TEI's and vLLM's shapes."},
    {"name": "TEI", "description": "Hugging Face's text-embeddings-inference, over the same models."},
    {"name": "OIP", "description": "The Open Inference Protocol (KServe, Triton), over the same models."},
    {"name": "Backends", "description": "Servers that run models elsewhere, for administrators."},
    {"name": "Accounts", "description": "Users, tokens and API keys."},
    {"name": "Platform", "description": "Health, readiness and status."},
]
REFERENCE = "#/components/schemas/{model}"


def _schemas(*models: type[BaseModel]) -> dict[str, Any]:
    schemas: dict[str, Any] = {}
    for model in models:
        schema = model.model_json_schema(ref_template=REFERENCE)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas


def _remove_default_errors(document: dict[str, Any]) -> None:
    """FastAPI declares its own 422 wherever a path has a parameter; ours are declared where they can
    happen."""
    for operations in document["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def build_document(app: FastAPI, *bodies: type[BaseModel]) -> dict[str, Any]:
    """The document of the application's routes."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        license_info=app.license_info,
        routes=app.routes,
        tags=app.openapi_tags,
    )
    _remove_default_errors(document)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(_schemas(Problem, *bodies))
    scheme = {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key or a token from POST /v1/auth/token.",
    }
    components["securitySchemes"] = {"Bearer": scheme}
    document["security"] = [{"Bearer": []}]
    add_examples(document)
    return document


def install(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Makes this the application's document; `bodies` are the models that hand-written routes read."""

    def openapi() -> dict[str, Any]:
        app.openapi_schema = app.openapi_schema or build_document(app, *bodies)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
