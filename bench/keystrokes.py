"""Measures the time from each key in the console's search to its rows, and the bytes of the user list.

    python bench/keystrokes.py        bytes of a first visit, then ms from key to painted rows

Headless Chromium on a million users, signed in as an administrator, over loopback. Words are typed letter by letter
with the pauses of a human. CACHE_TTL_S=0, so that no search is cached.
"""

import argparse
import random
import statistics
import sys
from collections.abc import Sequence

import psycopg
from playwright.sync_api import Browser
from rig.pages import Key, NotThere, Typist, context_of, sign_in, weigh
from rig.report import conditions, table
from rig.subjects import Subject, servers, subjects

from embedded import chromium

LEAST = 60
"""The least number of keys for a meaningful 95th percentile."""
# Few and many matches; Latin, Cyrillic and Han; one and two words; an address; no match.
_WORDS = (
    *("maria", "smith", "garcía", "иван", "王", "łukasz", "nguyen tran", "test user", "anna kowalski", "o'brien"),
    *("john.smith", "example", "zzyzx"),
)
_RARE = 4
_TITLES = ("typed so far", "keys", "median ms", "95 % ms", "slowest ms")


def main() -> None:
    """Parse the command line, measure, and print the tables."""
    options = _parse()
    if chromium.program() is None:
        print(f"Not measured. {chromium.MISSING}.")
        return
    with (
        servers(options.postgres, options.shared_buffers) as running,
        subjects(running, [options.users]) as (subject,),
        chromium.launched() as browser,
    ):
        facts = (f"PostgreSQL {running.version()}", f"Chromium {browser.version}", "CACHE_TTL_S=0")
        print(conditions(*facts, f"{options.users:,} users"), flush=True)
        try:
            cookie = sign_in(subject, running.redis.url)
            print(f"\n{_weights(browser, subject, cookie)}\n", flush=True)
            print(_searches(_typed(options, browser, subject, cookie)))
        except NotThere as error:
            sys.exit(f"Error: {error}")
        print(f"\n{conditions('at the end')}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", type=int, choices=(16, 18), default=18)
    parser.add_argument("--shared-buffers", default="1GB", help="memory of PostgreSQL (default: 1GB)")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=2, help="number of times that each word is typed (default: 2)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the order of words and of the pauses between keys")
    return parser.parse_args()


def _weights(browser: Browser, subject: Subject, cookie: str) -> str:
    """The bytes of the page on the first visit and on a later visit."""
    with context_of(browser, subject, cookie) as context:
        cold, warm = (weigh(page) for page in (context.new_page(), context.new_page()))
    nothing = (0, 0)
    rows = [(kind, *cold.get(kind, nothing), *warm.get(kind, nothing)) for kind in sorted({*cold, *warm})]
    together = [sum(column) for column in zip(*(row[1:] for row in rows), strict=True)]
    titles = ("the user list", "requests, cold", "bytes, cold", "requests, again", "bytes, again")
    return table(titles, [*rows, ("together", *together)])


def _typed(options: argparse.Namespace, browser: Browser, subject: Subject, cookie: str) -> list[Key]:
    chance = random.Random(options.seed)
    words = [*_WORDS, *_rare_words(subject.database_url)]
    with context_of(browser, subject, cookie) as context:
        typist = Typist(context.new_page(), chance)
        # Not counted: the first search of a page compiles its script.
        typist.type("warm")
        return [
            key for _ in range(options.rounds) for word in chance.sample(words, len(words)) for key in typist.type(word)
        ]


def _rare_words(url: str) -> list[str]:
    """Words that few users have in their name."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT lower(split_part(name, ' ', 3)) FROM users"
            r" WHERE deleted_at IS NULL AND name ~ '^\w+ \w+ [A-Z][a-z]{7}$' ORDER BY md5(id::text) LIMIT %s",
            [_RARE],
        ).fetchall()
    return [row[0] for row in rows]


def _searches(keys: Sequence[Key]) -> str:
    painted = [key for key in keys if key.ms is not None]
    if len(painted) < LEAST:
        raise NotThere(
            f"Only {len(painted)} keys of {len(keys)} were answered, and {LEAST} are needed: take more --rounds."
        )
    lengths = {"one letter": range(1, 2), "two or three": range(2, 4), "four and more": range(4, 1000)}
    rows = [_row(title, [key for key in painted if len(key.text) in span]) for title, span in lengths.items()]
    overtaken = f"Not counted (rows of a later key came first): {len(keys) - len(painted)} of {len(keys)} keys."
    slowest = sorted(painted, key=lambda key: -(key.ms or 0))[:5]
    worst = table(("slowest", "ms"), [(key.text, key.ms) for key in slowest])
    return f"{table(_TITLES, [*rows, _row('all', painted)])}\n\n{overtaken}\n\n{worst}"


def _row(title: str, keys: Sequence[Key]) -> tuple[object, ...]:
    times = [key.ms for key in keys if key.ms is not None]
    p95 = statistics.quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else None
    return (title, len(times), statistics.median(times) if times else None, p95, max(times, default=None))


if __name__ == "__main__":
    main()
