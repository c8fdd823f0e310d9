"""Generates the users of the benchmarks: realistic, and adversarial for searches and sorts."""

import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from app.identifiers import canonical
from app.search import text as search_text

COLUMNS = (
    *("id", "username", "username_key", "email", "email_key", "name", "name_key", "role", "active"),
    *("attributes", "version", "created_at", "updated_at", "deleted_at", "search_vector"),
)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
"""The time at which the last user is created; the others were created a minute apart before."""

_APART = timedelta(minutes=1)
_LEGACY_SHARE = 0.4


def _each(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FIRST = _each(
    "Maria Anna Jean Pierre Mohammed Fatima Wei Yuki Olga Ivan John Mary James Linda Robert Sofia Lucas Emma Noah Léa"
    " Zoë Chloé Łukasz Søren José Ana Paulo João Ali Hassan Amina Giulia Marco Luca Hans Karl Ingrid Björn Åsa Élodie"
    " François Renée Minh Raj Priya Arjun Ananya Kofi Ama Thabo"
)
_LAST = _each(
    "Martin Bernard Dubois Smith Johnson Williams Brown García Rodríguez Müller Schmidt Schneider Rossi Ferrari Silva"
    " Santos Kowalski Nowak Ivanov Petrov Sato Suzuki Tanaka Kim Lee Park Nguyen Tran Singh Kumar Patel Khan Ahmed"
    " Hansen Olsen Virtanen Novák Horváth Popescu Zhang"
)
_HAN = "王李张刘陈杨赵黄周吴伟芳娜敏静丽强磊军洋"
_OTHER_SCRIPTS = (
    (_each("Иван Ольга Анна Дмитрий Наталья Сергей"), _each("Иванов Петрова Смирнов Ковальчук Шевченко")),
    (_each("Γιώργος Μαρία Ελένη Νίκος"), _each("Παπαδόπουλος Γεωργίου Νικολάου")),
    (_each("محمد فاطمة علي خديجة"), _each("الأحمد حسن إبراهيم")),
    (_each("יוסף שרה דוד רחל"), _each("כהן לוי מזרחי")),
    (_each("राजेश प्रिया अनिल सुनीता"), _each("शर्मा सिंह पटेल")),
    (_each("민준 서연 지훈 수빈"), _each("김 이 박 최")),
    (_each("さくら ゆうき たろう はなこ"), _each("さとう すずき たなか")),
    (_each("สมชาย สมหญิง"), _each("ใจดี ทองดี")),
)
# No words, one very long word, characters of SQL and LIKE, right-to-left marks, one letter repeated.
_ODD = ("🙂", "—", "Ng" * 100, r"%_\'; --", "O'Brien-Smith", "\u202bשרה לוי\u202c 1", "Ö", "a a a a", "ﬁ Ⅳ ①", "null")
_SYLLABLES = _each(
    "ba be bi bo da de di do fa fe ga go ka ke ki ko la le li lo ma mi mo na ne no pa pe po ra re ro sa se so ta te to"
    " va vi zu"
)
_KINDS = {"plain": 65, "with a rare word": 20, "Han": 10, "other script": 4, "the same": 1, "odd": 0.1}
_DOMAINS = ("example.com", "mail.test", "corp.example", "gmail.test")
_PLANS = ("free", "free", "free", "pro", "team")
_ROLES = {"member": 90, "viewer": 8, "editor": 1.95, "admin": 0.05}


@dataclass(frozen=True)
class GeneratedUsers:
    """`count` users in the order of their creation. The same count and seed give the same users."""

    count: int
    seed: int = 7

    def created(self, share: float) -> datetime:
        """The time before which about this share of all users was created."""
        return NOW - self.count * (1 - share) * _APART

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Each user as the values of COLUMNS, ready for COPY."""
        chance = random.Random(self.seed)
        for number in range(self.count):
            yield self._row(number, chance)

    def _row(self, number: int, chance: random.Random) -> tuple[Any, ...]:
        name, username = _names(number, chance)
        email = None if _happens(chance, 0.05) else f"{username}@{chance.choice(_DOMAINS)}"
        role = _one_of(_ROLES, chance)
        active = not _happens(chance, 0.05)
        attributes = self._attributes(number, chance)
        created, updated, deleted = self._moments(number, chance)
        user = {"username": username, "email": email, "name": name, "role": role, "active": active}
        found = [
            *search_text.lexemes({**user, "attributes": attributes}),
            *([search_text.DELETED_TAG] if deleted else []),
        ]
        return (
            *(_id(created, chance), username, canonical(username)),
            *(email, canonical(email) if email else None, name, search_text.sort_key(name), role, active),
            *(orjson.dumps(attributes).decode(), 1, created.isoformat(), updated.isoformat()),
            *(deleted.isoformat() if deleted else None, " ".join(f"'{word}'" for word in found)),
        )

    def _attributes(self, number: int, chance: random.Random) -> dict[str, Any]:
        """Values of very different frequency. `cohort` and `legacy` depend on the time; statistics do not."""
        attributes = {"plan": chance.choice(_PLANS), "n": number % 100_000, "cohort": number * 10 // self.count}
        return attributes | {"legacy": True} if number < self.count * _LEGACY_SHARE else attributes

    def _moments(self, number: int, chance: random.Random) -> tuple[datetime, datetime, datetime | None]:
        """The times of creation, of the last change (30 % changed later), and of deletion (2 %)."""
        created = NOW - (self.count - number) * _APART + timedelta(seconds=chance.random())
        later = created + min(timedelta(days=100), NOW - created) * chance.random()
        updated = later if _happens(chance, 0.3) else created
        return created, updated, NOW if _happens(chance, 0.02) else None


def _names(number: int, chance: random.Random) -> tuple[str, str]:
    """A name and a username. Many names are equal: fifty first and forty last names; 1 % of the users have one name."""
    kind = _one_of(_KINDS, chance)
    rare = "".join(chance.choices(_SYLLABLES, k=4))
    if kind == "Han":
        return "".join(chance.choices(_HAN, k=3)), f"u{number}{rare}"
    if kind == "other script":
        firsts, lasts = chance.choice(_OTHER_SCRIPTS)
        return f"{chance.choice(firsts)} {chance.choice(lasts)}", f"u{number}{rare}"
    if kind == "the same":
        return "Test User", f"test{number}"
    if kind == "odd":
        return chance.choice(_ODD), f"odd{number}"
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    name = f"{first} {last} {rare.title()}" if kind == "with a rare word" else f"{first} {last}"
    return name, f"{first}.{last}{number}".lower()


def _one_of(shares: Mapping[str, float], chance: random.Random) -> str:
    return chance.choices(list(shares), list(shares.values()))[0]


def _happens(chance: random.Random, share: float) -> bool:
    return chance.random() < share


def _id(created: datetime, chance: random.Random) -> str:
    """A UUIDv7 (RFC 9562), as the service creates."""
    milliseconds = int(created.timestamp() * 1000)
    random_bits = (chance.getrandbits(12) << 64) | (2 << 62) | chance.getrandbits(62)
    return str(uuid.UUID(int=(milliseconds << 80) | (7 << 76) | random_bits))
