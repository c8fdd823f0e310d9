"""`make screenshots`: screenshots for the docs, of a separate service with demo users.

The users and their history are the same in each run. Timestamps count back from now.
"""

import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from live_site import Site, site
from playwright.sync_api import Page
from visitors import Visitors

from app.auth.permissions import AuditContext
from app.http.services import services
from embedded import chromium, stack
from tests.support.secured_app import SecuredApp

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
MAX_BYTES = 250_000
"""Maximum size in bytes, because the repository keeps every version."""

_USERS, _SEED, _DELETED = 200, 7, 7
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
)
# Spreads the users over three months, and their history over the time since then. It is the same in each run. It is not
# recorded in the history (`internal`).
_SPREAD = """
SET fullstack_app.internal = 'yes';
WITH chosen AS (SELECT id, (hashtext(username)::bigint & 65535) / 65536.0 AS share FROM users)
UPDATE users SET created_at = now() - interval '90 days' * share, updated_at = now() - interval '45 days' * share
FROM chosen WHERE users.id = chosen.id;
UPDATE history SET created_at = users.created_at + (now() - users.created_at) * (history.version - 1) / 3
FROM users WHERE users.id = user_id;
UPDATE tokens SET last_used_at = now() - interval '7 minutes' * length(name)
"""


@dataclass(frozen=True)
class Screenshot:
    """A screenshot: its page, the browser settings, and whether the administrator is signed in."""

    name: str
    path: str
    look: dict[str, Any] = field(default_factory=dict)
    signed_in: bool = True


SCREENSHOTS = (
    Screenshot("sign-in", "/sign-in", signed_in=False),
    Screenshot("dashboard", "/overview"),
    Screenshot("users", "/people?sort=-created_at"),
    Screenshot("users-dark", "/people?sort=-created_at", {"dark": True}),
    Screenshot("users-narrow", "/people?sort=-created_at", {"narrow": True}),
    Screenshot("users-fr", "/people?sort=-created_at", {"locale": "fr-FR"}),
    Screenshot("user", "/people/{user_id}"),
    Screenshot("tokens", "/api-tokens"),
)


def main() -> None:
    """Take all screenshots, or those that the command line names."""
    wanted = [screenshot for screenshot in SCREENSHOTS if screenshot.name in sys.argv[1:]] or SCREENSHOTS
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium.launched() as browser,
        stack(Path(folder)) as servers,
        site(servers, Path(folder)) as live_site,
    ):
        secured, user_id = create_data(live_site)
        visitors = Visitors(browser, live_site.url, Path(folder))
        for screenshot in wanted:
            cookie = secured.session_cookie(secured.admin.user) if screenshot.signed_in else None
            take(visitors(cookie, **screenshot.look), screenshot, user_id)
        if problems := visitors.problems():
            sys.exit("Error: problems on the pages\n" + "\n".join(problems))
        visitors.close()


def create_data(live_site: Site) -> tuple[SecuredApp, str]:
    """Create users, tokens, trash and history. Returns the service and the id of a user with much history."""
    secured = live_site.reset_secured(name="Ada Lovelace", username="ada", email="ada@example.com")
    result = live_site.app.test_cli_runner().invoke(
        args=["users", "demo", "--count", str(_USERS), "--seed", str(_SEED)]
    )
    if result.exit_code:
        sys.exit(f"Error: {result.output}")
    for user in secured.admin.list_users(role="member", sort="username", limit=_DELETED):
        secured.admin.delete(f"/users/{user['id']}")
    user_id = _create_busy_user(live_site, secured)
    for name, role, days in (
        ("Nightly export", "viewer", 90),
        ("Billing", "editor", 365),
        ("Status page", "viewer", 30),
    ):
        end = datetime.now(UTC) + timedelta(days=days)
        secured.token(secured.admin.user, role, name=name, expires_at=end.isoformat())
    with psycopg.connect(live_site.database_url, autocommit=True) as connection:
        connection.execute(_SPREAD)
    return secured, user_id


def take(page: Page, screenshot: Screenshot, user_id: str) -> None:
    """Save a screenshot. Raises: SystemExit, if it is too large"""
    page.goto(screenshot.path.format(user_id=user_id))
    page.wait_for_load_state("networkidle")
    path = FOLDER / f"{screenshot.name}.png"
    page.screenshot(path=path, animations="disabled", caret="hide")
    size = path.stat().st_size
    print(f"{path.relative_to(FOLDER.parents[1])}: {size / 1000:.0f} kB")  # noqa: T201 - progress for the user
    if size > MAX_BYTES:
        sys.exit(f"Error: that is more than {MAX_BYTES / 1000:.0f} kB.")


def _create_busy_user(live_site: Site, secured: SecuredApp) -> str:
    """A user with several changes and two sessions. Returns the id."""
    user = secured.create_user("viewer", name="Grace Hopper", username="grace", email="grace@example.com")
    path = f"/users/{user['id']}"
    secured.admin.patch(path, {"attributes": {"plan": "free", "city": "New York", "locale": "en-US"}})
    secured.admin.patch(path, {"role": "editor", "attributes": {"plan": "pro", "city": "Arlington", "locale": "en-US"}})
    with live_site.app.app_context():
        for number, agent in enumerate(_AGENTS, 17):
            services().sessions.create_after_reset(
                uuid.UUID(user["id"]), AuditContext(address=f"192.0.2.{number}", agent=agent)
            )
    return str(user["id"])


if __name__ == "__main__":
    main()
