"""create_app(): builds every part of an application and puts them together."""

import importlib
from typing import Any

from flask_openapi3 import Info, License, OpenAPI, Server
from sqlalchemy import Engine

from app.auth.admins import Admins
from app.auth.login import Login
from app.auth.rate_limits import RateLimits
from app.auth.session_store import SessionStore
from app.auth.sessions import Sessions
from app.auth.tokens import Tokens
from app.cache.generations import Generations
from app.cache.known_changes import KnownChanges
from app.cache.local import LocalCache
from app.cache.redis_answers import RedisAnswers
from app.cache.redis_client import open_client
from app.cli import install_commands, settings_refused
from app.config import Settings, load_settings
from app.console.error_pages import install_error_pages
from app.console.i18n import install_languages
from app.console.rendering import install_templates
from app.db.database import Database, engine_options, engine_url
from app.extensions import cache, db
from app.http.access import install_access
from app.http.proxies import install_proxies
from app.http.request_log import install_request_log
from app.http.response_cache import ResponseCache
from app.http.response_headers import install_response_headers
from app.http.services import EXTENSION
from app.models import HistoryEntry, User
from app.ops.health import Health
from app.ops.logging_config import configure_logs
from app.ops.service_state import create_state
from app.routes import register_routes
from app.search.pages import UserPages
from app.search.planner import PlannerStats
from app.users.bootstrap_admin import BootstrapAdmin
from app.users.bulk import BulkCommands
from app.users.commands import UserCommands
from app.users.dashboard import Dashboard
from app.users.history import History
from app.users.reads import UserReads
from app.users.retention import Retention
from app.users.writes import UserTransactions, UserWrites
from app.version import VERSION

_REDIS_TIMEOUT_S = 2.0
"""Time-out of the public `cache` client, which `flask doctor` uses, too. Other clients have shorter ones."""


class Services:
    """Every part of one application, in the order in which they depend on each other.

    engine: has no connections yet. Nothing here connects or starts a thread.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.settings, self.state = settings, create_state()
        # A service that other machines can reach is never in setup mode.
        self.state.is_secured = settings.is_public
        self.database = Database(settings, self.state, engine)
        # A row for each worker, and the first one for the change poller.
        self.generations = Generations(1 + settings.worker_count)
        self.known_changes = KnownChanges(self.generations)
        cache_bytes = settings.cache_memory_bytes // settings.worker_count if settings.cache_ttl_s else 0
        self.local_cache = LocalCache(self.generations, cache_bytes, settings.cache_ttl_s)
        self.redis = open_client(settings.redis_address, timeout_s=_REDIS_TIMEOUT_S)
        self.redis_answers = RedisAnswers(settings, self.generations, self.known_changes)
        self.health = Health(self.state, self.database.connect, self.database.breaker, self.redis_answers.ping)

        self.admins = Admins(self.database, self.state)
        self.tokens = Tokens(self.database, self.local_cache, self.generations)
        self.sessions = Sessions(self.database, SessionStore(settings), self.local_cache)
        self.rate_limits = RateLimits(settings)
        self.login = Login(self.database, self.sessions, self.rate_limits)
        planner_stats = PlannerStats(self.database)
        self.user_pages = UserPages(self.database, self.redis_answers, planner_stats)
        transactions = UserTransactions(self.database, self.generations, self.admins)
        self.user_reads = UserReads(self.database)
        self.users = UserCommands(
            self.user_reads,
            UserWrites(self.database, transactions),
            transactions,
            login=self.login,
            tokens=self.tokens,
            sessions=self.sessions,
            settings=settings,
        )
        self.bulk = BulkCommands(transactions)
        self.history = History(self.database)
        self.retention = Retention(self.database, self.users, settings)
        self.dashboard = Dashboard(self.database, self.user_pages, planner_stats, self.sessions, self.redis_answers)
        self.bootstrap_admin = BootstrapAdmin(self.database, self.admins, self.users, settings)
        self.response_cache = ResponseCache(self.local_cache, self.state, self.tokens)

    def close(self) -> None:
        """Close every connection, and release the shared memory in this process."""
        self.sessions.store.close()
        self.rate_limits.close()
        self.health.close()
        self.database.close()
        self.redis_answers.close()
        self.redis.close()
        self.known_changes.close()
        self.generations.close()


def create_app(**overrides: Any) -> OpenAPI:
    """The application, with settings from the environment and `overrides` (fields of config.Settings).

    Connects to nothing and starts no thread, so that workers can be forked with it. Raises: SettingsError
    """
    with settings_refused():
        settings = load_settings(**overrides)
    # OpenTelemetry is imported only where it is used.
    tracing = importlib.import_module("app.http.tracing") if settings.otel_exporter_otlp_endpoint else None
    configure_logs(settings.log_level, settings.log_format, *([tracing.add_trace_id] if tracing else []))
    app = _flask_app(settings)
    db.init_app(app)
    with app.app_context():
        services = app.extensions[EXTENSION] = Services(settings, db.engine)
    # The first before a view, and the last after it. Flask calls the functions of after_request in reverse order.
    install_request_log(app)
    if tracing:
        tracing.install_tracing(app)
    app.after_request(services.response_cache.store)
    install_response_headers(app)
    install_proxies(app, settings.trusted_proxies)
    install_error_pages(app)
    install_access(app)
    install_languages(app)
    install_templates(app, settings.adminer_url)
    register_routes(app)
    install_commands(app)
    app.shell_context_processor(lambda: {"db": db, "cache": cache, "User": User, "HistoryEntry": HistoryEntry})
    return app


def _flask_app(settings: Settings) -> OpenAPI:
    app = OpenAPI(
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
    return app
