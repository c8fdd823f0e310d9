"""/api/openapi.json and /api/docs: the contract, and a page to try it on. All assets are local."""

from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import flask_openapi3_swagger
import orjson
from flask import Blueprint, Response, current_app, render_template, send_from_directory
from flask_openapi3 import OpenAPI

from app.web.access import COOKIE, RULES

_ASSETS = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_CREDENTIALS = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API token. While there is no administrator, no credential is needed.",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Comes with POST /api/session."},
}

blueprint = Blueprint("docs", __name__, template_folder="templates")


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """OpenAPI 3.1, generated from the declarations that validate."""
    return Response(orjson.dumps(contract()), content_type="application/json")


@blueprint.get("/docs")
def page() -> Response:
    """Swagger UI."""
    return Response(render_template("docs.html"), content_type="text/html; charset=utf-8")


@blueprint.get("/docs/<path:name>")
def asset(name: str) -> Response:
    """A file of Swagger UI, or the script that starts it."""
    folder = Path(__file__).parent / "static" if name == "start.js" else _ASSETS
    return send_from_directory(folder, name, max_age=3600)


def contract() -> dict[str, Any]:
    """The OpenAPI document, made once per application."""
    app = cast("OpenAPI", current_app)
    if "contract" not in app.extensions:
        app.extensions["contract"] = _mended(orjson.loads(orjson.dumps(app.api_doc)))
    return cast("dict[str, Any]", app.extensions["contract"])


def _mended(document: dict[str, Any]) -> dict[str, Any]:
    """The document with what the generator can't say: credentials, media types, hidden parameters."""
    document["components"]["schemas"].pop("ValidationErrorModel", None)
    document["components"]["securitySchemes"] = _CREDENTIALS
    document["security"] = [{name: []} for name in _CREDENTIALS]
    public = _public_operations()
    for address, path in document["paths"].items():
        for method, operation in path.items():
            if (method.upper(), address) in public:
                operation["security"] = []
            # Not one parameter but any number of them, as the description says.
            operation["parameters"] = [
                parameter for parameter in operation.get("parameters", []) if parameter["name"] != "attributes"
            ]
            for parameter in operation["parameters"]:
                parameter["schema"] = _without_null(parameter["schema"])
            is_health = operation["operationId"].startswith("health_")
            if is_health:
                # The generator adds it everywhere; nothing is validated here.
                operation["responses"].pop("422", None)
            for status, response in operation["responses"].items():
                if int(status) >= HTTPStatus.BAD_REQUEST and not (is_health and status == "503"):
                    response["content"] = {"application/problem+json": {"schema": _PROBLEM}}
            if method == "patch":
                content = operation["requestBody"]["content"]
                content["application/merge-patch+json"] = content["application/json"]
    return document


def _public_operations() -> set[tuple[str, str]]:
    """Methods and paths of what needs no credential."""
    return {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in current_app.url_map.iter_rules()
        if rule.endpoint in RULES and RULES[rule.endpoint].public
        for method in rule.methods or ()
    }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter is given or not; none can be null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and value is not None}
    return {**rest, **kinds[0]} if kinds else rest
