"""The first page: how many, since when, and whether all works."""

from typing import Any

from flask import Response, redirect, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from app.console.rendering import page, pages_of
from app.extensions import resources
from app.http.auth import actor
from app.users.dashboard import overview

blueprint = pages_of("console_dashboard")

_WIDTH, _HEIGHT = 600, 120


@blueprint.get("/overview")
def show() -> WerkzeugResponse:
    """Figures and health; members, who may not see them, come to their own page."""
    if not actor().may("viewer"):
        return redirect(url_for("console_account.profile"))
    return _page()


@blueprint.get("/overview/health")
def health() -> Response:
    """Whether all works: what /api/health says, as a part of the page."""
    return page("_health.html", **_health())


def _page() -> Response:
    figures = overview()
    highest = max(1, *(made for _, made in figures.sign_ups))
    step = _WIDTH / len(figures.sign_ups)
    bars = [
        {
            "x": round(number * step + 1, 1),
            "width": round(step - 2, 1),
            "height": round(made / highest * _HEIGHT, 1),
            "y": round(_HEIGHT - made / highest * _HEIGHT, 1),
            "day": day,
            "made": made,
        }
        for number, (day, made) in enumerate(figures.sign_ups)
    ]
    return page(
        "dashboard.html",
        figures=figures,
        bars=bars,
        size=(_WIDTH, _HEIGHT),
        highest=highest,
        made=sum(made for _, made in figures.sign_ups),
        **_health(),
    )


def _health() -> dict[str, Any]:
    status, checks = resources().health.report()
    return {"health": status, "checks": checks, "phase": resources().state.phase.name.lower()}
