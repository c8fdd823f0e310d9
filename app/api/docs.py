"""/api/openapi.json and /api/docs: the OpenAPI document, and Swagger UI. All assets are local."""

from pathlib import Path

import flask_openapi3_swagger
import orjson
from flask import Blueprint, Response, render_template, send_from_directory

from app.api.openapi import openapi_document
from app.http.response_headers import SWAGGER_POLICY

_ASSETS = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"

blueprint = Blueprint("docs", __name__, url_prefix="/api", template_folder="templates")


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The OpenAPI 3.1 document, generated from the declarations that validate requests."""
    return Response(orjson.dumps(openapi_document()), content_type="application/json")


@blueprint.get("/docs")
def page() -> Response:
    """The page of Swagger UI."""
    response = Response(render_template("docs.html"), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = SWAGGER_POLICY
    return response


@blueprint.get("/docs/<path:name>")
def asset(name: str) -> Response:
    """A static file of Swagger UI, or the script that starts it."""
    folder = Path(__file__).parent / "static" if name == "start.js" else _ASSETS
    return send_from_directory(folder, name, max_age=3600)
