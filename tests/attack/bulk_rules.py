"""Bulk actions of the console, with their confirmation and undo, beside the model."""

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import hypothesis.strategies as st
from hypothesis.stateful import rule
from werkzeug.test import TestResponse

from tests.attack.fuzz_users import WHO, WHOM, Pick
from tests.attack.model import FIELDS, ROLES, Credential, User, fits
from tests.attack.write_rules import Writes

ACTION = st.sampled_from(["activate", "deactivate", "role", "delete", "restore"])
ROLE = st.sampled_from(ROLES)
# None of them finds the observer.
FILTERS = st.sampled_from(
    [{"role": "member"}, {"role": "editor"}, {"active": "false"}, {"q": "ada"}, {"attributes.team": "x"}]
)


class Bulk(Writes):
    """Bulk actions on selected users, on all users that match, and the undo of a bulk delete."""

    def __init__(self) -> None:
        super().__init__()
        self.deletes = ["2026-01-31T09:30:00Z"]

    @rule(by=WHO, action=ACTION, role=ROLE, of=st.lists(WHOM, min_size=1, max_size=3), late=st.integers(0, 9))
    def change_selected(self, by: Pick, action: str, role: str, of: list[Pick], late: int) -> None:
        """late: 0 if the number of users is another one than the confirmed number."""
        part = "trash" if action == "restore" else "live"
        ids = list(dict.fromkeys(self.whom((part if kind == "live" else kind, number)) for kind, number in of))
        chosen = [user for user in self.part(action) if user["id"] in ids]
        self.confirmed(self.who(by), {"action": action, "role": role, "id": ids}, chosen, len(ids), late)

    @rule(by=WHO, action=ACTION, role=ROLE, filters=FILTERS, late=st.integers(0, 9))
    def change_all(self, by: Pick, action: str, role: str, filters: dict[str, str], late: int) -> None:
        active = False if "active" in filters else None
        asked = (filters.get("q"), filters.get("role"), active, filters.get("attributes.team"))
        chosen = [user for user in self.part(action) if fits(user, *asked)]
        query = urlencode({**filters, **({"deleted": "true"} if action == "restore" else {})})
        form = {"action": action, "role": role, "all": "1", "query": query}
        self.confirmed(self.who(by), form, chosen, len(chosen), late)

    @rule(by=WHO, which=st.integers(0, 9))
    def undo(self, by: Pick, which: int) -> None:
        deleted_at = self.deletes[which % len(self.deletes)]
        chosen = [user for user in self.model.trash.values() if user.get("deleted_at") == deleted_at]
        self.applied(self.who(by), {"action": "restore", "deleted_at": deleted_at}, chosen, set())

    def part(self, action: str) -> list[User]:
        return list((self.model.trash if action == "restore" else self.model.live).values())

    def confirmed(self, who: Credential, form: dict[str, Any], chosen: list[User], count: int, late: int) -> None:
        page = self.post(who, form)
        if self.judge(page, self.model.refuses(who, "editor"), 200):
            assert f'name="expected" value="{count}"' in page.text
        count += late == 0
        self.applied(who, {**form, "expected": count}, chosen, {409} if count != len(chosen) else set())

    def applied(self, who: Credential, form: dict[str, Any], chosen: list[User], refusals: set[int]) -> None:
        action, model = form["action"], self.model
        values = {"activate": {"active": True}, "deactivate": {"active": False}, "role": {"role": form.get("role")}}
        new = values.get(action, {})
        changing = [user for user in chosen if not new or any(user[name] != value for name, value in new.items())]
        response = self.post(who, form)
        refusals = model.refuses(who, "editor") or refusals | model.refuses_bulk(who, action, chosen, changing, new)
        if self.judge(response, refusals, 303):
            notice = parse_qs(urlsplit(response.headers["Location"]).query)
            assert notice["n"] == [str(len(changing))]
            assert ("undo" in notice) == (action == "delete" and changing != [])
            self.deletes += notice.get("undo", [])
            for user in changing:
                self.taken_over(user, action, new, who)

    def taken_over(self, user: User, action: str, new: User, who: Credential) -> None:
        if action == "delete":
            self.model.delete(user["id"], who)
            self.model.trash[user["id"]]["deleted_at"] = self.deletes[-1]
        else:
            whole = {**{name: user[name] for name in (*FIELDS, "created_at")}, **new}
            shown = self.observer.get(f"/users/{user['id']}")
            self.written(shown, whole, "restored" if action == "restore" else "changed", who)

    def post(self, who: Credential, form: dict[str, Any]) -> TestResponse:
        response = self.client.flask_client.post("/people/bulk", data=form, headers=who.headers)
        assert response.status_code < 500, response.text
        return response
