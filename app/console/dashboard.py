"""The dashboard: numbers of users and sessions, sign-ups per day, backups, and the health of the service."""

from typing import Any

from flask import Response, redirect, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.error_pages import console_blueprint
from app.console.rendering import render
from app.http.access import actor
from app.http.services import services
from app.ops.backup_status import read_backup_status
from app.ops.service_state import Phase

blueprint = console_blueprint("console_dashboard")


@blueprint.get("/overview")
def show() -> WerkzeugResponse:
    """The dashboard. Members may not see it and are redirected to their profile."""
    if not actor().may("viewer"):
        return redirect(url_for("console_account.profile"))
    path = services().settings.backup_status_file if actor().may("admin") else ""
    backups = read_backup_status(path)
    return render("dashboard.html", figures=services().dashboard.figures(), backups=backups, **_health())


@blueprint.get("/overview/health")
def health() -> Response:
    """The health section of the dashboard, with the same checks as /api/health."""
    return render("_health.html", **_health())


def _health() -> dict[str, Any]:
    status, checks = services().health.report()
    return {"health": status, "checks": checks, "phase": Phase(services().state.phase).name.lower()}
