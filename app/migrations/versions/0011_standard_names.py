"""Columns and indexes get the names that the field uses."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_COLUMNS = (("users", "words", "search_vector"), ("history", "at", "created_at"))
_INDEXES = (
    ("users_by_words", "users_by_search_vector"),
    *(
        (f"users_above_member_by_{order}", f"users_privileged_by_{order}")
        for order in ("created_at", "updated_at", "name", "username", "email")
    ),
)


def upgrade() -> None:
    for table, old, new in _COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for old, new in _INDEXES:
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
    _replace_clean_up("users_by_search_vector")


def downgrade() -> None:
    for old, new in _INDEXES:
        op.execute(f"ALTER INDEX {new} RENAME TO {old}")
    for table, old, new in _COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    _replace_clean_up("users_by_words")


def _replace_clean_up(index: str) -> None:
    """The function has the name of the index in its text. Its owner and its rights stay."""
    op.execute(
        "DO $do$ BEGIN EXECUTE format("
        "'CREATE OR REPLACE FUNCTION gin_clean_pending_list_of_users() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
        " SET search_path = pg_catalog, %I, pg_temp"
        f" AS $$ SELECT gin_clean_pending_list(''{index}'') $$', current_schema()); END $do$"
    )
