"""Indexes of each role above member, in every order; changes by somebody's SQL are told to the service."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ORDERS = {
    "created_at": "created_at",
    "updated_at": "updated_at",
    "name": "name_key",
    "username": "username_key",
    "email": "coalesce(email_key, '')",
}
_KEPT = ("users", "tokens")


def upgrade() -> None:
    for order, key in _ORDERS.items():
        op.create_index(
            f"users_above_member_by_{order}",
            "users",
            ["role", sa.text(key), "id"],
            postgresql_where=sa.text("deleted_at IS NULL AND role <> 'member'"),
        )
    op.execute(
        "CREATE FUNCTION tell_of_sql() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_notify('fullstack_app_sql', ''); RETURN NULL; END $$"
    )
    for table in _KEPT:
        op.execute(
            f"CREATE TRIGGER {table}_tell_of_sql AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT WHEN (current_setting('fullstack_app.tells', true) IS DISTINCT FROM 'yes')"
            " EXECUTE FUNCTION tell_of_sql()"
        )


def downgrade() -> None:
    for table in _KEPT:
        op.execute(f"DROP TRIGGER {table}_tell_of_sql ON {table}")
    op.execute("DROP FUNCTION tell_of_sql()")
    for order in _ORDERS:
        op.drop_index(f"users_above_member_by_{order}", "users")
