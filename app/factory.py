"""create_app(): builds every part of an application and puts them together."""

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
from app.http.services import Infrastructure, Services, install_services
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
from app.users.writes import UserTransactions, UserWrites
from app.version import VERSION

_REDIS_TIMEOUT_S = 2.0
"""Time-out of the public `cache` client and of health checks. Other clients have shorter ones."""


def create_app(**overrides: Any) -> OpenAPI:
    """The application, with settings from the environment and `overrides` (fields of config.Settings).

    Connects to nothing and starts no thread, so that workers can be forked with it. Raises: SettingsError
    """
    with settings_refused():
        settings = load_settings(**overrides)
    configure_logs(settings.log_level, settings.log_format)
    app = _flask_app(settings)
    db.init_app(app)
    with app.app_context():
        services = _build_services(settings, _build_infrastructure(settings, db.engine))
    install_services(app, services)
    # The first before a view, and the last after it. Flask calls the functions of after_request in reverse order.
    install_request_log(app)
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


def _build_infrastructure(settings: Settings, engine: Engine) -> Infrastructure:
    state = create_state()
    # A service that other machines can reach is never in setup mode.
    state.is_secured = settings.is_public
    database = Database(settings, state, engine)
    # A row for each worker, and the first one for the change poller.
    generations = Generations(1 + settings.worker_count)
    known_changes = KnownChanges(generations)
    redis = open_client(settings.redis_address, timeout_s=_REDIS_TIMEOUT_S)
    redis_answers = RedisAnswers(
        settings.redis_address,
        settings.redis_timeout_ms / 1000,
        settings.cache_ttl_s,
        generations=generations,
        known_changes=known_changes,
    )
    return Infrastructure(
        state=state,
        database=database,
        generations=generations,
        known_changes=known_changes,
        local_cache=LocalCache(generations, settings.cache_memory_bytes // settings.worker_count, settings.cache_ttl_s),
        redis=redis,
        redis_answers=redis_answers,
        health=Health(state, database.connect, database.breaker, redis_answers.ping),
    )


def _build_services(settings: Settings, infrastructure: Infrastructure) -> Services:
    database, local_cache = infrastructure.database, infrastructure.local_cache
    answers = infrastructure.redis_answers
    admins = Admins(database, infrastructure.state)
    tokens = Tokens(database, local_cache, infrastructure.generations)
    sessions = Sessions(database, SessionStore(settings), local_cache)
    rate_limits = RateLimits(settings)
    login = Login(database, sessions, rate_limits)
    planner_stats = PlannerStats(database)
    user_pages = UserPages(database, answers, planner_stats)
    transactions = UserTransactions(database, infrastructure.generations, admins)
    reads, writes = UserReads(database), UserWrites(database, transactions)
    users = UserCommands(reads, writes, transactions, login=login, tokens=tokens, sessions=sessions, settings=settings)
    return Services(
        settings=settings,
        infrastructure=infrastructure,
        response_cache=ResponseCache(local_cache, infrastructure.state, tokens),
        admins=admins,
        rate_limits=rate_limits,
        tokens=tokens,
        sessions=sessions,
        login=login,
        user_pages=user_pages,
        user_reads=reads,
        users=users,
        bulk=BulkCommands(transactions),
        history=History(database),
        dashboard=Dashboard(database, user_pages, planner_stats, sessions, answers),
        bootstrap_admin=BootstrapAdmin(database, admins, users, settings),
    )
