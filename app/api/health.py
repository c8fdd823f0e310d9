"""/api/health: public, without secrets, in bounded time."""

from http import HTTPStatus
from typing import Any

import orjson
from flask import Response
from flask_openapi3 import Tag
from pydantic import BaseModel, ConfigDict

from app.api.declarations import JSON, StrictBlueprint, problems
from app.http.minimal_response import MinimalResponse
from app.http.services import services


class CheckReport(BaseModel):
    """One thing that the service stands on."""

    status: str
    latency_ms: float | None = None
    error: str | None = None


class HealthReport(BaseModel):
    """`ok`, `degraded` (without Redis) or `down` (without PostgreSQL)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "ok",
                "checks": {
                    "database": {"status": "ok", "latency_ms": 0.4},
                    "cache": {"status": "ok", "latency_ms": 0.2},
                },
            }
        }
    )

    status: str
    checks: dict[str, CheckReport]


class ProcessStatus(BaseModel):
    """The state of the process."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok"}})

    status: str


blueprint = StrictBlueprint(
    "health",
    __name__,
    abp_tags=[Tag(name="health", description="Is the service up, and may a load balancer send requests to it?")],
    abp_responses=problems(400, 403),
)


@blueprint.get(
    "/health", operation_id="getHealth", summary="Does it work?", responses={200: HealthReport, 503: HealthReport}
)
def report() -> Response:
    """200 while PostgreSQL answers, else 503."""
    status, checks = services().infrastructure.health.report()
    body = {"status": status, "checks": {name: check.as_json() for name, check in checks.items()}}
    return _answer(body, 503 if status == "down" else 200)


@blueprint.get(
    "/health/live", operation_id="getLiveness", summary="Does the process serve?", responses={200: ProcessStatus}
)
def live() -> Response:
    """Touches nothing."""
    return _answer({"status": "ok"}, 200)


@blueprint.get(
    "/health/ready",
    operation_id="getReadiness",
    summary="May requests be sent here?",
    responses={200: ProcessStatus, 503: ProcessStatus},
)
def ready() -> Response:
    """503 while starting, migrating, draining, without PostgreSQL or where writes hang."""
    return (
        _answer({"status": "ok"}, 200)
        if services().infrastructure.health.ready()
        else _answer({"status": "not ready"}, 503)
    )


def _answer(body: dict[str, Any], status: int) -> Response:
    response = MinimalResponse(orjson.dumps(body), status, content_type=JSON)
    response.headers["Cache-Control"] = "no-store"
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "1"
    return response
