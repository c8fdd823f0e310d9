"""`flask users`: users from the command line."""

import random
from typing import Any

import click
import orjson

from app.auth.audit_log import AuditContext
from app.auth.permissions import system_actor
from app.cli.prompts import Group, new_password, password_option, user_named
from app.errors import AlreadyTaken
from app.http.parsing import validated
from app.http.services import services
from app.models import ROLES
from app.schemas import UserDraft, UserPatch
from app.search import text as search_text
from app.types import Role

try:
    from faker import Faker
except ImportError:  # The image has no use for it.
    Faker = None  # type: ignore[assignment,misc]

_LOCALES = (
    "en_US", "fr_FR", "de_DE", "es_ES", "it_IT", "pt_BR", "pl_PL", "sv_SE", "cs_CZ", "tr_TR", "vi_VN",
    "ru_RU", "uk_UA", "el_GR", "ar_SA", "he_IL", "hi_IN", "th_TH", "ko_KR", "ja_JP", "zh_CN",
)  # fmt: skip
_OWN_SCRIPT = _LOCALES[_LOCALES.index("ru_RU") :]
_PLANS = ("free", "free", "free", "pro", "team")
_DEMO_ROLES: tuple[Role, ...] = ("member",) * 90 + ("viewer",) * 7 + ("editor",) * 3
_ACTIVE_SHARE = 0.95

group = Group("users", help="Work with users.")


@group.command("create")
@click.option("--email", help="Its email address.")
@click.option("--username", help="Its username; the email address when left out.")
@click.option("--name", help="Its name; the username when left out.")
@click.option("--role", default="member", show_default=True, type=click.Choice(ROLES), help="What it may do.")
@password_option
def create(*, password_stdin: bool, **given: str | None) -> None:
    """Make a user who can sign in. The password is asked for; it can't be an argument, which others could read.

    The first administrator closes the service: from then on requests need a credential.

    Example: flask users create --role admin --email ada@example.com --name "Ada Lovelace"
    """
    fields = {name: value for name, value in given.items() if value is not None}
    if not fields.get("email") and not fields.get("username"):
        raise click.UsageError("Give --email or --username.")
    # Before anybody types a password for nothing.
    validated(UserDraft, fields)
    was_open = not services().admins.has_admin()
    draft = validated(UserDraft, {**fields, "password": new_password(from_stdin=password_stdin)})
    made = orjson.loads(services().users.create(draft, AuditContext(system_actor("flask users create")))[0].body)
    click.echo(f"Made {made['username']}, {made['role']}, with the id {made['id']}.")
    if was_open and made["role"] == "admin":
        click.echo("The service is closed now: all but health, docs and signing in needs a credential.")


@group.command("password")
@click.argument("login", metavar="EMAIL_OR_USERNAME")
@password_option
def password(login: str, *, password_stdin: bool) -> None:
    """Give a user a new password, end all of its sessions, and forget its wrong passwords.

    Example: flask users password ada@example.com
    """
    audit_context = AuditContext(system_actor("flask users password"))
    user_id, username = user_named(login)
    patch = validated(UserPatch, {"password": new_password(from_stdin=password_stdin)})
    services().users.update(user_id, patch, lambda _: True, audit_context)
    click.echo(f"{username} has a new password, and is signed out everywhere.")
    services().login.unlock(user_id, audit_context)


@group.command("unlock")
@click.argument("login", metavar="EMAIL_OR_USERNAME")
def unlock(login: str) -> None:
    """Let a user sign in again at once after too many wrong passwords.

    Example: flask users unlock ada@example.com
    """
    user_id, username = user_named(login)
    services().login.unlock(user_id, AuditContext(system_actor("flask users unlock")))
    click.echo(f"{username} may sign in again.")


@group.command("demo")
@click.option("--count", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="How many to add.")
@click.option("--seed", type=int, help="The same seed makes the same users.")
def demo(count: int, seed: int | None) -> None:
    """Add believable users of several languages and scripts.

    Of their attributes `plan` is the product's; `locale` and `city` are the user's own, if the service is started with
    SELF_EDITABLE_ATTRIBUTES=locale,city.

    Example: flask users demo --count 50
    """
    if Faker is None:
        raise click.ClickException("This needs the development tools: run `make demo`, or pip install Faker.")
    chance = random.Random(seed)  # noqa: S311 - nothing secret is made
    makers = {locale: Faker(locale) for locale in _LOCALES}
    for maker in makers.values():
        maker.seed_instance(chance.getrandbits(64))
    with click.progressbar(range(count), label="Adding users") as numbers:
        for _ in numbers:
            _register_someone(makers, chance)
    click.echo(f"Added {count} users.")


def _register_someone(makers: dict[str, Any], chance: random.Random) -> None:
    locale = chance.choice(_LOCALES)
    maker = makers[locale]
    while True:
        name = maker.name() if locale in _OWN_SCRIPT else f"{maker.first_name()} {maker.last_name()}"
        plain = ".".join(search_text.tokenize(name))
        username = f"{plain if plain.isascii() else maker.user_name()}{chance.randrange(10_000)}"
        draft = UserDraft(
            username=username,
            email=f"{username}@example.{chance.choice(('com', 'org', 'net'))}",
            name=name,
            role=chance.choice(_DEMO_ROLES),
            active=chance.random() < _ACTIVE_SHARE,
            attributes={"locale": locale.replace("_", "-"), "plan": chance.choice(_PLANS), "city": maker.city()},
        )
        try:
            services().users.create(draft, AuditContext(system_actor("flask users demo")))
        except AlreadyTaken:
            continue
        return
