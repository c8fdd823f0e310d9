"""/api/health: health checks. They are public, show no secrets and answer in bounded time."""

from http import HTTPStatus

from flask import Response
from pydantic import BaseModel, ConfigDict

from app.api.declarations import StrictBlueprint, json_response, problems
from app.http.services import services
from app.ops.health import CheckReport


class HealthReport(BaseModel):
    """`ok`, `degraded` (Redis is unavailable) or `down` (PostgreSQL is unavailable)."""

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


blueprint = StrictBlueprint("health", "Health, liveness and readiness of the service.", problems(400, 403))


@blueprint.get("/health", operation_id="getHealth", responses={200: HealthReport, 503: HealthReport})
def report() -> Response:
    """Get the health of the service

    503 while PostgreSQL is unavailable.
    """
    status, checks = services().health.report()
    return _health_response(HealthReport(status=status, checks=checks), 503 if status == "down" else 200)


@blueprint.get("/health/live", operation_id="getLiveness", responses={200: ProcessStatus})
def live() -> Response:
    """Check that the process responds

    Uses neither PostgreSQL nor Redis.
    """
    return _health_response(ProcessStatus(status="ok"), 200)


@blueprint.get("/health/ready", operation_id="getReadiness", responses={200: ProcessStatus, 503: ProcessStatus})
def ready() -> Response:
    """Check that the service is ready for requests

    503 during start, migration and shutdown, and while PostgreSQL is unavailable.
    """
    if services().health.ready():
        return _health_response(ProcessStatus(status="ok"), 200)
    return _health_response(ProcessStatus(status="not ready"), 503)


def _health_response(report: BaseModel, status: int) -> Response:
    response = json_response(report.model_dump(exclude_none=True), status)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "1"
    return response
