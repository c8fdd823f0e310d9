"""`make screenshots`: pictures of the pages for the docs, of a service of their own with believable people.

The people, and what they do, are the same in each run; moments count back from now.
"""

import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from playwright.sync_api import Page
from serving import Site, site
from visiting import Visitors

from app.auth import sessions
from app.auth.audit_log import AuditContext
from embedded import chromium, stack
from tests.support.secured_app import SecuredApp

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
LARGEST = 250_000
"""Bytes that a picture may have: it is in the repository for ever."""

_PEOPLE, _SEED, _DELETED = 200, 7, 7
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/605.1.15",
)
# Spread over three months, with what was done since then between; who came when is the same in each run.
_SPREAD = """
WITH chosen AS (SELECT id, (hashtext(username)::bigint & 65535) / 65536.0 AS share FROM users)
UPDATE users SET created_at = now() - interval '90 days' * share, updated_at = now() - interval '45 days' * share
FROM chosen WHERE users.id = chosen.id;
UPDATE history SET at = created_at + (now() - created_at) * (history.version - 1) / 3
FROM users WHERE users.id = user_id;
UPDATE tokens SET last_used_at = now() - interval '7 minutes' * length(name)
"""


@dataclass(frozen=True)
class Picture:
    """One picture: where it is taken, by whom, and how it looks there."""

    name: str
    path: str
    look: dict[str, Any] = field(default_factory=dict)
    signed_in: bool = True


PICTURES = (
    Picture("sign-in", "/sign-in", signed_in=False),
    Picture("overview", "/overview"),
    Picture("people", "/people?sort=-created_at"),
    Picture("people-dark", "/people?sort=-created_at", {"dark": True}),
    Picture("people-narrow", "/people?sort=-created_at", {"narrow": True}),
    Picture("people-fr", "/people?sort=-created_at", {"locale": "fr-FR"}),
    Picture("person", "/people/{someone}"),
    Picture("tokens", "/api-tokens"),
)


def main() -> None:
    """Take all pictures, or those that the command line names."""
    wanted = [picture for picture in PICTURES if picture.name in sys.argv[1:]] or PICTURES
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium.launched() as browser,
        stack(Path(folder)) as servers,
        site(servers, Path(folder)) as place,
    ):
        house, someone = furnish(place)
        visitors = Visitors(browser, place.url, Path(folder))
        for picture in wanted:
            cookie = house.secret(house.admin.user) if picture.signed_in else None
            take(visitors(cookie, **picture.look), picture, someone)
        if faults := visitors.faults():
            sys.exit("Error: the pages complained\n" + "\n".join(faults))
        visitors.leave()


def furnish(place: Site) -> tuple[SecuredApp, str]:
    """A closed service with people, tokens, a trash and some history. Returns also the id of somebody busy."""
    house = place.closed(name="Ada Lovelace", username="ada", email="ada@example.com")
    made = place.app.test_cli_runner().invoke(args=["users", "demo", "--count", str(_PEOPLE), "--seed", str(_SEED)])
    if made.exit_code:
        sys.exit(f"Error: {made.output}")
    for person in house.admin.listed(role="member", sort="username", limit=_DELETED):
        house.admin.delete(f"/users/{person['id']}")
    someone = _busy(place, house)
    for name, role, days in (
        ("Nightly export", "viewer", 90),
        ("Billing", "editor", 365),
        ("Status page", "viewer", 30),
    ):
        end = datetime.now(UTC) + timedelta(days=days)
        house.token(house.admin.user, role, name=name, expires_at=end.isoformat())
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        connection.execute(_SPREAD)
    return house, someone


def take(page: Page, picture: Picture, someone: str) -> None:
    """Keep one picture. Raises: SystemExit, when it is too large"""
    page.goto(picture.path.format(someone=someone))
    page.wait_for_load_state("networkidle")
    path = FOLDER / f"{picture.name}.png"
    page.screenshot(path=path, animations="disabled", caret="hide")
    size = path.stat().st_size
    print(f"{path.relative_to(FOLDER.parents[1])}: {size / 1000:.0f} kB")  # noqa: T201 - for who runs it
    if size > LARGEST:
        sys.exit(f"Error: that is more than {LARGEST / 1000:.0f} kB.")


def _busy(place: Site, house: SecuredApp) -> str:
    """Somebody who rose, moved, and is signed in at two places."""
    person = house.make("viewer", name="Grace Hopper", username="grace", email="grace@example.com")
    path = f"/users/{person['id']}"
    house.admin.patch(path, {"attributes": {"plan": "free", "city": "New York", "locale": "en-US"}})
    house.admin.patch(path, {"role": "editor", "attributes": {"plan": "pro", "city": "Arlington", "locale": "en-US"}})
    with place.app.app_context():
        for number, agent in enumerate(_AGENTS, 17):
            sessions.renewed(uuid.UUID(person["id"]), AuditContext(address=f"192.0.2.{number}", agent=agent))
    return str(person["id"])


if __name__ == "__main__":
    main()
