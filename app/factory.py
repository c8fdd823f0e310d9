"""create_app(): the only file that knows how the parts fit."""

from typing import Any

from flask_openapi3 import Info, License, OpenAPI, Server

from app.auth.admins import Door
from app.auth.tokens import KnownTokens
from app.cli import install_commands, settings_refused
from app.config import load_settings
from app.console.error_pages import install_error_pages
from app.console.i18n import install_languages
from app.console.template_filters import install_template_filters
from app.db.database import engine_options, engine_url
from app.extensions import Resources, cache, db
from app.http.auth import install_access
from app.http.context import install_context
from app.http.minimal_response import PlainApp
from app.http.problems import install_problems
from app.http.proxies import install_proxies
from app.http.readiness import install_phases
from app.http.request_log import RequestLog
from app.http.response_cache import ResponseCache
from app.http.security_headers import install_security_headers
from app.models import HistoryEntry, User
from app.ops.logging_config import configure_logs
from app.routes import register_routes
from app.version import VERSION


def create_app(**overrides: Any) -> OpenAPI:
    """The application, with settings from the environment and `overrides` (fields of config.Settings).

    Connects to nothing yet and starts no thread, so that workers can be forked with it. Raises: SettingsError
    """
    with settings_refused():
        settings = load_settings(**overrides)
    configure_logs(settings.log_level, settings.log_format)
    app = PlainApp(
        "app",
        info=Info(
            title="fullstack-app",
            version=VERSION,
            description="Users: create, read, update, delete, search, history, sign-in and API tokens.",
            license=License(name="MIT", identifier="MIT"),
        ),
        servers=[Server(url="/", description="The service that this document comes from.")],
        doc_ui=False,
        static_folder=None,
        template_folder="console/templates",
    )
    app.config.update(
        SQLALCHEMY_DATABASE_URI=engine_url(settings),
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings),
        SQLALCHEMY_TRACK_MODIFICATIONS=False,
        MAX_CONTENT_LENGTH=settings.max_body_bytes,
    )
    # A redirect would answer with a page of HTML.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    db.init_app(app)
    with app.app_context():
        app.extensions["fullstack"] = Resources(settings, db.engine)
    held: Resources = app.extensions["fullstack"]
    door, known_tokens = held.part(Door), held.part(KnownTokens)
    response_cache = ResponseCache(
        app.wsgi_app,
        held.local_cache,
        lambda secret: known_tokens.cached_actor(secret) if door.was_closed else None,
    )
    app.extensions["response_cache"] = response_cache
    app.wsgi_app = RequestLog(response_cache)  # type: ignore[method-assign]
    install_proxies(app, settings.proxy_networks)
    install_security_headers(app)
    install_context(app)
    install_problems(app)
    install_error_pages(app)
    install_phases(app)
    install_access(app)
    install_languages(app)
    install_template_filters(app)
    register_routes(app)
    install_commands(app)
    app.shell_context_processor(lambda: {"db": db, "cache": cache, "User": User, "HistoryEntry": HistoryEntry})
    return app
