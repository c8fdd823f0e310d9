"""The route table: one line per blueprint. The JSON routes are served under /api and, for the exercise, at the root."""

from flask_openapi3 import OpenAPI

from app.api import docs, health, me, session, sessions, tokens, users
from app.console import account, assets, dashboard, i18n, setup, user
from app.console import tokens as console_tokens
from app.console import users as console_users

API = (
    ("/api", users.blueprint),
    ("/api", session.blueprint),
    ("/api", sessions.blueprint),
    ("/api", tokens.blueprint),
    ("/api", me.blueprint),
    ("/api", health.blueprint),
)
PAGES = (
    ("/api", docs.blueprint),
    ("", assets.blueprint),
    ("", i18n.blueprint),
    ("", setup.blueprint),
    ("", account.blueprint),
    ("", console_users.blueprint),
    ("", user.blueprint),
    ("", dashboard.blueprint),
    ("", console_tokens.blueprint),
)


def register_routes(app: OpenAPI) -> None:
    """Register every blueprint in `app`."""
    for prefix, blueprint in API:
        app.register_api(blueprint, url_prefix=prefix)
        # Undocumented: /users is the exercise's spelling of /api/users.
        app.register_blueprint(blueprint, name=f"root_{blueprint.name}", url_prefix="")
    for prefix, pages in PAGES:
        app.register_blueprint(pages, url_prefix=prefix)
