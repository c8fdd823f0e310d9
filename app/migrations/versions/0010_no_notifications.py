"""Changes by SQL are found in the history, so triggers notify nobody any more."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TABLES = ("users", "tokens")


def upgrade() -> None:
    for table in _TABLES:
        op.execute(f"DROP TRIGGER {table}_tell_of_sql ON {table}")
    op.execute("DROP FUNCTION tell_of_sql()")


def downgrade() -> None:
    op.execute(
        "CREATE FUNCTION tell_of_sql() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_notify('fullstack_app_sql', ''); RETURN NULL; END $$"
    )
    for table in _TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_tell_of_sql AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT WHEN (current_setting('fullstack_app.tells', true) IS DISTINCT FROM 'yes')"
            " EXECUTE FUNCTION tell_of_sql()"
        )
