"""Usernames and emails: Unicode, IDNA, and every way to spell an @ and a dot."""

# ruff: noqa: RUF001 - look-alikes are the purpose

import itertools
import re
from collections.abc import Callable

import hypothesis.strategies as st
import orjson
import pytest

from tests.attack.fuzzing import fuzz
from tests.attack.hostile import ANY_TEXT, damaged, encoded
from tests.attack.raw_client import RawClient
from tests.attack.rounds import Rounds
from tests.support.secured_app import SecuredApp

JSON_TYPE = (b"content-type", b"application/json")
FORM_TYPE = (b"content-type", b"application/x-www-form-urlencoded")
_NUMBERS = itertools.count(1)


class Api:
    """An administrator, by token and by session."""

    def __init__(self, site: SecuredApp) -> None:
        self.token = RawClient(site.app, site.token_client(site.admin.user).headers)
        self.session = RawClient(site.app, site.admin.headers)


@pytest.fixture
def site(new_site: Callable[[], SecuredApp], no_errors_logged: None) -> Api:  # noqa: ARG001 - it watches the log
    return Api(new_site())


LABELS = ["bücher", "BÜCHER", "größe", "faß", "例え", "xn--bcher-kva", "xn--", "xn--a", "XN--BCHER-KVA", "مثال",
          "उदाहरण", "a-b", "-a", "a" * 63, "é" * 63, "\u0301a", "a\u200db",
          "ａｂｃ", "☃", "\u0130", "ſ", "ﬁ", "１２７", "0"]  # fmt: skip
DOTS = st.sampled_from([".", "。", "．", "｡", "..", ""])
DOMAINS = st.builds(
    lambda labels, dot: dot.join([*labels, "example"]), st.lists(st.sampled_from(LABELS), max_size=3), DOTS
)
LOCALS = st.sampled_from(
    ["ada", "Ada", "ADÄ", "ſtraße", "李", "a+b", '"a b"', "a..b", "ａｄａ", "e\u0301", "\u0130", "ς", "a@b"]
)
EMAILS = st.builds(lambda local, domain, at: f"{local}{at}{domain}", LOCALS, DOMAINS, st.sampled_from(["@", "@", "＠"]))


def spellings(text: str) -> list[str]:
    """Texts with the same canonical form."""
    return [text, text.casefold() if text.isascii() else text, text.replace("@", "＠"), f"\u00ad{text}"]


def test_identifiers(rounds: Rounds, site: Api) -> None:
    """A name that is taken is found, is taken for every field, and signs in only its user; any other is refused."""

    def check(text: str) -> None:
        made = [site.token("POST", b"/api/users", [JSON_TYPE], orjson.dumps(fields))
                for fields in ({"email": text, "username": f"n-{next(_NUMBERS)}"}, {"username": text})]  # fmt: skip
        ids = [orjson.loads(answer.data)["id"] for answer in made if answer.status_code == 201]
        assert len(ids) < 2 or not re.search("[@＠﹫]", text)
        for answer, name in zip(made, ("email", "username"), strict=True):
            if answer.status_code == 201:
                for spelling in spellings(text):
                    found = site.token("GET", f"/api/users?{name}=".encode() + encoded(spelling))
                    assert [user["id"] for user in orjson.loads(found.data)] == [orjson.loads(answer.data)["id"]]
                    again = site.token("POST", b"/api/users", [JSON_TYPE], orjson.dumps({"username": spelling}))
                    assert again.status_code in (409, 422)
                form = site.session("POST", b"/people/new", [FORM_TYPE], b"name=x&username=" + encoded(text))
                assert form.status_code in (409, 422)
        for user_id in ids:
            purged = site.token("DELETE", f"/api/users/{user_id}?purge=true".encode())
            assert purged.status_code == 204

    letters = st.characters(exclude_categories=["Cs"])
    fuzz(rounds, check, damaged(EMAILS, letters) | EMAILS | ANY_TEXT)
