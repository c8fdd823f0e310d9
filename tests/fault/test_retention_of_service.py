"""A service deletes what is old by itself, and other hosts notice it."""

from collections.abc import Callable

import psycopg

from tests.support.empty_tables import INTERNAL
from tests.support.service_process import Service, first_administrator
from tests.support.waiting import wait_until


def test_a_service_purges_the_trash_and_no_host_shows_it_any_more(
    new_database: str, serve: Callable[..., Service]
) -> None:
    other = serve(DATABASE_URL=new_database, WORKERS="1")
    headers = first_administrator(other)
    user = other.post("/api/users", {"username": "gone"}, headers=headers).json
    assert other("DELETE", f"/api/users/{user['id']}", headers=headers).status == 204
    with psycopg.connect(new_database, options=INTERNAL) as connection:
        connection.execute(
            "UPDATE users SET deleted_at = deleted_at - interval '2 days', updated_at = updated_at - interval '2 days'"
            " WHERE deleted_at IS NOT NULL"
        )
    assert [found["id"] for found in other.get("/api/users?deleted=true", headers=headers).json] == [user["id"]]
    service = serve(DATABASE_URL=new_database, WORKERS="1", TRASH_DAYS="1")
    service.wait_for(lambda: "trash_pruned" in service.text)
    (event,) = [event for event in service.events if event["event"] == "trash_pruned"]
    assert (event["users"], event["days"]) == (1, 1)
    wait_until(lambda: other.get("/api/users?deleted=true", headers=headers).json == [], 2)
    entries = other.get(f"/api/users/{user['id']}/history", headers=headers).json
    assert (entries[0]["action"], entries[0]["actor"]) == ("purged", "TRASH_DAYS")
