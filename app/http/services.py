"""Everything that one application consists of, for its views and commands. app.factory builds it."""

from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from app.auth.admins import Admins
from app.auth.login import Login
from app.auth.rate_limits import RateLimits
from app.auth.sessions import Sessions
from app.auth.tokens import Tokens
from app.cache.generations import Generations
from app.cache.known_changes import KnownChanges
from app.cache.local import LocalCache
from app.cache.redis_answers import RedisAnswers
from app.cache.redis_client import Redis
from app.config import Settings
from app.db.database import Database
from app.http.response_cache import ResponseCache
from app.ops.health import Health
from app.ops.service_state import ServiceState
from app.search.pages import UserPages
from app.users.bootstrap_admin import BootstrapAdmin
from app.users.bulk import BulkCommands
from app.users.commands import UserCommands
from app.users.dashboard import Dashboard
from app.users.history import History
from app.users.reads import UserReads

_KEY = "services"


@dataclass(frozen=True, kw_only=True)
class Infrastructure:
    """PostgreSQL, Redis, and what the processes of a service share."""

    state: ServiceState
    database: Database
    generations: Generations
    known_changes: KnownChanges
    local_cache: LocalCache
    redis: Redis
    redis_answers: RedisAnswers
    health: Health

    def close(self) -> None:
        """Close every connection, and release the shared generations."""
        self.health.close()
        self.database.close()
        self.redis_answers.close()
        self.redis.close()
        self.known_changes.close()
        self.generations.close()


@dataclass(frozen=True, kw_only=True)
class Services:
    """The services of one application."""

    settings: Settings
    infrastructure: Infrastructure
    response_cache: ResponseCache
    admins: Admins
    rate_limits: RateLimits
    tokens: Tokens
    sessions: Sessions
    login: Login
    user_pages: UserPages
    user_reads: UserReads
    users: UserCommands
    bulk: BulkCommands
    history: History
    dashboard: Dashboard
    bootstrap_admin: BootstrapAdmin

    def close(self) -> None:
        """Close every connection."""
        self.sessions.store.close()
        self.rate_limits.close()
        self.infrastructure.close()


def install_services(app: Flask, built: Services) -> None:
    """Let `services` find them while `app` is the current application."""
    app.extensions[_KEY] = built


def services() -> Services:
    """The services of the current application."""
    return cast("Services", current_app.extensions[_KEY])


def services_of(app: Flask) -> Services:
    """The services of `app`."""
    return cast("Services", app.extensions[_KEY])
