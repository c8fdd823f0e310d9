"""Reads pages of the console: their forms, and whether a hostile value became markup."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from tests.attack.hostile import MARK

_ADDRESSES = ("href", "src", "action", "formaction", "data", "hx-get", "hx-post")
_ALLOWED = ("/", "#", "http://localhost")
_COMPUTED = "865733484109"
"""987659*876551, if a template was evaluated."""


@dataclass
class Form:
    """A form: where it is sent, and its fields as (name, value)."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """A page: its forms, and each place where a value became markup."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.faults: list[str] = ["a template was evaluated"] if _COMPUTED in text else []
        self._path, self._in_script = path, False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._in_script = tag == "script"
        wrong = [name for name in values if name.startswith("on") or MARK in name or name in ("style", "srcdoc")]
        wrong += [f"{name}={value}" for name, value in values.items() if name in _ADDRESSES and not _is_own(value)]
        if wrong or MARK in tag or tag in ("style", "iframe", "object", "embed", "base"):
            self.faults.append(f"<{tag} {wrong}>")
        if tag == "form":
            self.forms.append(Form(values.get("action") or self._path, values.get("method", "get")))
        elif self.forms and tag in ("input", "textarea", "select", "button") and values.get("name"):
            self.forms[-1].fields.append((values["name"], values.get("value", "")))

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.faults.append(f"a script: {data[:80]}")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - of HTMLParser
        self._in_script = False


def _is_own(address: str) -> bool:
    return address == "" or (address.startswith(_ALLOWED) and not address.startswith(("//", "/\\")))


def read_page(answer: Any, path: str) -> Page:
    """A page without faults. Redirects and JSON have no forms."""
    is_page = answer.headers.get("Content-Type", "").startswith("text/html")
    page = Page(answer.get_data(as_text=True) if is_page else "", path)
    assert page.faults == [], (path, page.faults)
    if is_page and answer.data:
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return page
