"""A function that puts the words of written users into their index, for the service, which does not own it."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "DO $do$ BEGIN EXECUTE format("
        "'CREATE FUNCTION gin_clean_pending_list_of_users() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
        " SET search_path = pg_catalog, %I, pg_temp"
        " AS $$ SELECT gin_clean_pending_list(''users_by_words'') $$', current_schema()); END $do$"
    )
    op.execute("REVOKE ALL ON FUNCTION gin_clean_pending_list_of_users() FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION gin_clean_pending_list_of_users()")
