"""The triggers of identifiers find their table whatever the search_path of who writes, such as that of pg_restore."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_FUNCTIONS = ("sync_identifiers()", "truncate_identifiers()")


def upgrade() -> None:
    for function in _FUNCTIONS:
        op.execute(
            "DO $do$ BEGIN EXECUTE format("
            f"'ALTER FUNCTION {function} SET search_path = pg_catalog, %I, pg_temp', current_schema()); END $do$"
        )


def downgrade() -> None:
    for function in _FUNCTIONS:
        op.execute(f"ALTER FUNCTION {function} RESET search_path")
