"""Sign-in: API tokens, the epoch of sessions, and an index of administrators."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("session_epoch", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.create_index(
        "users_administrators",
        "users",
        ["id"],
        postgresql_where=sa.text("role = 'admin' AND active AND deleted_at IS NULL AND password_hash IS NOT NULL"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('member', 'viewer', 'editor', 'admin')", name=op.f("tokens_role_check")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("tokens_pkey")),
        sa.UniqueConstraint("digest", name=op.f("tokens_digest_key")),
    )
    op.create_index("tokens_by_user", "tokens", ["user_id"])


def downgrade() -> None:
    op.drop_table("tokens")
    op.drop_index("users_administrators", "users")
    op.drop_column("users", "session_epoch")
