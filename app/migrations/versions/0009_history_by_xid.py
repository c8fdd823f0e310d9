"""The index by which the history is asked for new rows, built while the service goes on. It is alone in this revision,
which can be repeated when the build was interrupted.
"""

from app.migrations.concurrent_indexes import create_index, drop_index

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index("history_by_xid", "history (xid) WHERE xid > '3'")


def downgrade() -> None:
    drop_index("history_by_xid")
