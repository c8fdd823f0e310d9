"""The dashboard: numbers of users and sessions, sign-ups per day, and the health of the service."""

from datetime import date
from typing import Any

from flask import Response, redirect, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.blueprints import console_blueprint
from app.console.rendering import render
from app.http.access import actor
from app.http.services import services
from app.ops.service_state import Phase

blueprint = console_blueprint("console_dashboard")

_WIDTH, _HEIGHT = 600, 120
"""The size of the chart, in units of its viewBox."""


@blueprint.get("/overview")
def show() -> WerkzeugResponse:
    """The dashboard. Members may not see it and are redirected to their profile."""
    if not actor().may("viewer"):
        return redirect(url_for("console_account.profile"))
    figures = services().dashboard.figures()
    total = sum(count for _, count in figures.sign_ups)
    return render("dashboard.html", figures=figures, total=total, **_chart(figures.sign_ups), **_health())


@blueprint.get("/overview/health")
def health() -> Response:
    """The health section of the dashboard, with the same checks as /api/health."""
    return render("_health.html", **_health())


def _chart(sign_ups: list[tuple[date, int]]) -> dict[str, Any]:
    """One bar per day, scaled to the day with the most sign-ups."""
    highest = max(1, *(count for _, count in sign_ups))
    step = _WIDTH / len(sign_ups)
    bars = [
        {
            "x": round(number * step + 1, 1),
            "y": round(_HEIGHT - count / highest * _HEIGHT, 1),
            "width": round(step - 2, 1),
            "height": round(count / highest * _HEIGHT, 1),
            "day": day,
            "count": count,
        }
        for number, (day, count) in enumerate(sign_ups)
    ]
    return {"bars": bars, "chart_size": (_WIDTH, _HEIGHT), "highest": highest}


def _health() -> dict[str, Any]:
    status, checks = services().infrastructure.health.report()
    return {"health": status, "checks": checks, "phase": Phase(services().infrastructure.state.phase).name.lower()}
