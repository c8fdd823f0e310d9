"""Words of users who are written wait in a short list, and go into their index many at once."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER INDEX users_by_words SET (fastupdate = on, gin_pending_list_limit = 64)")


def downgrade() -> None:
    op.execute("ALTER INDEX users_by_words SET (fastupdate = off)")
    op.execute("ALTER INDEX users_by_words RESET (gin_pending_list_limit)")
    op.execute("SELECT gin_clean_pending_list('users_by_words')")
