"""The database says which releases can use it: those that know the revision `compatible_from`.

A revision that removes what an earlier release uses raises it to the first revision whose release does without.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE alembic_version ADD COLUMN compatible_from text")
    op.execute("UPDATE alembic_version SET compatible_from = '0013'")


def downgrade() -> None:
    op.execute("ALTER TABLE alembic_version DROP COLUMN compatible_from")
