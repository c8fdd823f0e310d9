"""The index by which the history is asked for new rows, built while the service goes on. It is alone in this revision,
which can be repeated when the build was interrupted.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        # What an interrupted build left is invalid.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS history_by_xid")
        op.execute("CREATE INDEX CONCURRENTLY history_by_xid ON history (xid) WHERE xid > '3'")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS history_by_xid")
