"""The route table: every blueprint. The JSON routes are served under /api and, for the exercise, at the root."""

from flask_openapi3 import OpenAPI
from werkzeug.routing import Rule

from app.api import docs, health, me, session, sessions, tokens, users
from app.console import account, assets, dashboard, i18n, setup, user
from app.console import tokens as console_tokens
from app.console import users as console_users

API = (users, session, sessions, tokens, me, health)
PAGES = (docs, assets, i18n, setup, account, console_users, user, dashboard, console_tokens)


def interface_of(rule: Rule) -> str:
    """The interface that a rule of the URL map belongs to: health, api or console."""
    name = rule.endpoint.partition(".")[0].removeprefix("root_")
    if name == health.blueprint.name:
        return "health"
    return "api" if name in {resource.blueprint.name for resource in API} else "console"


def register_routes(app: OpenAPI) -> None:
    """Register every blueprint in `app`."""
    for resource in API:
        app.register_api(resource.blueprint, url_prefix="/api")
        # Undocumented: /users is the exercise's spelling of /api/users.
        app.register_blueprint(resource.blueprint, name=f"root_{resource.blueprint.name}", url_prefix="")
    for page in PAGES:
        app.register_blueprint(page.blueprint)
