"""`flask users`: create users, set passwords, unlock users, add demo data."""

import random
from typing import Any

import click
import orjson

from app.auth.permissions import AuditContext, system_actor
from app.cli.prompts import Group, find_user, new_password, password_option
from app.errors import AlreadyTaken
from app.http.parsing import validated
from app.http.services import services
from app.models import ROLES
from app.schemas import UserDraft, UserPatch
from app.search import text as search_text
from app.types import Role

try:
    from faker import Faker
except ImportError:  # The image does not contain it.
    Faker = None  # type: ignore[assignment,misc]

_LOCALES = (
    "en_US", "fr_FR", "de_DE", "es_ES", "it_IT", "pt_BR", "pl_PL", "sv_SE", "cs_CZ", "tr_TR", "vi_VN",
    "ru_RU", "uk_UA", "el_GR", "ar_SA", "he_IL", "hi_IN", "th_TH", "ko_KR", "ja_JP", "zh_CN",
)  # fmt: skip
_OWN_SCRIPT = _LOCALES[_LOCALES.index("ru_RU") :]
_PLANS = ("free", "free", "free", "pro", "team")
_DEMO_ROLES: tuple[Role, ...] = ("member",) * 90 + ("viewer",) * 7 + ("editor",) * 3
_ACTIVE_SHARE = 0.95

group = Group("users", help="Manage users.")


@group.command("create")
@click.option("--email", help="The email address.")
@click.option("--username", help="The username. The default is the email address.")
@click.option("--name", help="The name. The default is the username.")
@click.option("--role", default="member", show_default=True, type=click.Choice(ROLES), help="The role.")
@password_option
def create(*, password_stdin: bool, **given: str | None) -> None:
    """Create a user who can sign in. The command prompts for the password, because other users can see arguments.

    The first administrator secures the service: after that, requests need a credential.

    Example: flask users create --role admin --email ada@example.com --name "Ada Lovelace"
    """
    fields = {name: value for name, value in given.items() if value is not None}
    if not fields.get("email") and not fields.get("username"):
        raise click.UsageError("Give --email or --username.")
    # Report invalid options before the prompt for the password.
    validated(UserDraft, fields)
    was_in_setup_mode = not services().admins.has_admin()
    draft = validated(UserDraft, {**fields, "password": new_password(from_stdin=password_stdin)})
    user = orjson.loads(services().users.create(draft, AuditContext(system_actor("flask users create")))[0].body)
    click.echo(f"Created the user {user['username']} with the role {user['role']} and the id {user['id']}.")
    if was_in_setup_mode and user["role"] == "admin":
        click.echo("The service is secured now. Only health checks, docs and sign-in work without a credential.")


@group.command("password")
@click.argument("login", metavar="EMAIL_OR_USERNAME")
@password_option
def password(login: str, *, password_stdin: bool) -> None:
    """Set the password of a user, end all sessions of the user, and unlock the user.

    Example: flask users password ada@example.com
    """
    audit_context = AuditContext(system_actor("flask users password"))
    user_id, username = find_user(login)
    patch = validated(UserPatch, {"password": new_password(from_stdin=password_stdin)})
    services().users.update(user_id, patch, lambda _: True, audit_context)
    click.echo(f"The password of {username} is changed. All sessions of the user have ended.")
    services().login.unlock(user_id, audit_context)


@group.command("unlock")
@click.argument("login", metavar="EMAIL_OR_USERNAME")
def unlock(login: str) -> None:
    """Unlock a user after too many failed sign-ins.

    Example: flask users unlock ada@example.com
    """
    user_id, username = find_user(login)
    services().login.unlock(user_id, AuditContext(system_actor("flask users unlock")))
    click.echo(f"{username} is unlocked.")


@group.command("demo")
@click.option(
    "--count", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="The number of users."
)
@click.option("--seed", type=int, help="The same seed creates the same users.")
def demo(count: int, seed: int | None) -> None:
    """Add realistic users with names in several languages and scripts.

    Their attributes are `plan`, `locale` and `city`. With SELF_EDITABLE_ATTRIBUTES=locale,city users can change the
    last two themselves.

    Example: flask users demo --count 50
    """
    if Faker is None:
        raise click.ClickException("This command needs Faker: run `make demo`, or pip install Faker.")
    generator = random.Random(seed)  # noqa: S311 - not used for secrets
    fakers = {locale: Faker(locale) for locale in _LOCALES}
    for faker in fakers.values():
        faker.seed_instance(generator.getrandbits(64))
    with click.progressbar(range(count), label="Adding users") as numbers:
        for _ in numbers:
            _create_demo_user(fakers, generator)
    click.echo(f"Added {count} users.")


def _create_demo_user(fakers: dict[str, Any], generator: random.Random) -> None:
    locale = generator.choice(_LOCALES)
    faker = fakers[locale]
    while True:
        name = faker.name() if locale in _OWN_SCRIPT else f"{faker.first_name()} {faker.last_name()}"
        plain = ".".join(search_text.tokenize(name))
        username = f"{plain if plain.isascii() else faker.user_name()}{generator.randrange(10_000)}"
        draft = UserDraft(
            username=username,
            email=f"{username}@example.{generator.choice(('com', 'org', 'net'))}",
            name=name,
            role=generator.choice(_DEMO_ROLES),
            active=generator.random() < _ACTIVE_SHARE,
            attributes={"locale": locale.replace("_", "-"), "plan": generator.choice(_PLANS), "city": faker.city()},
        )
        try:
            services().users.create(draft, AuditContext(system_actor("flask users demo")))
        except AlreadyTaken:
            continue
        return
