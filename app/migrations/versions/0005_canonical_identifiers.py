"""Usernames and emails are compared in canonical form, and no username is another user's email."""

import unicodedata
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

from app.identifiers import canonical

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BATCH = 10_000

# In the order of their keys, so that of two writers of the same keys one waits for the other.
_SYNC = """
CREATE FUNCTION sync_identifiers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  claimed integer;
BEGIN
  IF TG_OP <> 'INSERT' AND OLD.deleted_at IS NULL THEN
    DELETE FROM identifiers WHERE key IN (OLD.username_key, OLD.email_key) AND user_id = OLD.id;
  END IF;
  IF TG_OP = 'DELETE' OR NEW.deleted_at IS NOT NULL THEN
    RETURN NULL;
  END IF;
  IF NEW.username_key LIKE '%@%' AND NEW.username_key IS DISTINCT FROM NEW.email_key THEN
    INSERT INTO identifiers (key, user_id)
      SELECT key, NEW.id FROM unnest(ARRAY[NEW.username_key, NEW.email_key]) AS key WHERE key IS NOT NULL ORDER BY key
      ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS claimed = ROW_COUNT;
    IF claimed < num_nonnulls(NEW.username_key, NEW.email_key) THEN
      PERFORM refuse_identifier(NEW.id, NEW.email_key);
    END IF;
  ELSIF NEW.email_key IS NOT NULL THEN
    INSERT INTO identifiers (key, user_id) VALUES (NEW.email_key, NEW.id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      PERFORM refuse_identifier(NEW.id, NEW.email_key);
    END IF;
  END IF;
  RETURN NULL;
END $$
"""

_REFUSE = """
CREATE FUNCTION refuse_identifier(own_id uuid, email text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  field text := 'username';
BEGIN
  IF EXISTS (SELECT FROM identifiers WHERE key = email AND user_id <> own_id) THEN
    field := 'email';
  END IF;
  RAISE unique_violation USING MESSAGE = format('another user has this %s as an identifier', field),
    TABLE = 'users', CONSTRAINT = format('users_%s_identifier', field);
END $$
"""

_TRUNCATE = """
CREATE FUNCTION truncate_identifiers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  TRUNCATE identifiers;
  RETURN NULL;
END $$
"""

_TRIGGERS = (
    "users_identifiers_added AFTER INSERT OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION sync_identifiers()",
    """
    users_identifiers_changed AFTER UPDATE ON users FOR EACH ROW
    WHEN ((OLD.id, OLD.username_key, OLD.email_key, OLD.deleted_at)
      IS DISTINCT FROM (NEW.id, NEW.username_key, NEW.email_key, NEW.deleted_at))
    EXECUTE FUNCTION sync_identifiers()
    """,
    "users_identifiers_truncated AFTER TRUNCATE ON users FOR EACH STATEMENT EXECUTE FUNCTION truncate_identifiers()",
)

_LIVE = """
CREATE TEMPORARY VIEW live_keys AS
SELECT u.id, coalesce(n.username_key, u.username_key) AS username_key,
  CASE WHEN n.id IS NULL THEN u.email_key ELSE n.email_key END AS email_key
FROM users AS u LEFT JOIN new_keys AS n ON n.id = u.id WHERE u.deleted_at IS NULL
"""

_COLLISIONS = """
WITH identified AS (
  SELECT key, id, string_agg(field, ' and ' ORDER BY field) AS fields
  FROM live_keys CROSS JOIN LATERAL (VALUES ('email', email_key), ('username', username_key)) AS keys(field, key)
  WHERE key IS NOT NULL GROUP BY key, id
)
SELECT string_agg(id || ' (' || fields || ')', ', ' ORDER BY id) FROM identified
GROUP BY key HAVING count(*) > 1 ORDER BY min(id::text)
"""

_FILL = """
INSERT INTO identifiers (key, user_id)
SELECT email_key, id FROM live_keys WHERE email_key IS NOT NULL
UNION SELECT username_key, id FROM live_keys WHERE username_key LIKE '%@%'
"""


def upgrade() -> None:
    op.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
    _compute_keys(canonical)
    op.execute(_LIVE)
    _refuse_collisions()
    op.create_table(
        "identifiers",
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
    )
    op.execute(_FILL)
    op.create_primary_key("identifiers_pkey", "identifiers", ["key"])
    _write_keys()
    for function in (_REFUSE, _SYNC, _TRUNCATE):
        op.execute(function)
    for trigger in _TRIGGERS:
        op.execute(f"CREATE TRIGGER {trigger}")


def downgrade() -> None:
    for trigger in _TRIGGERS:
        op.execute(f"DROP TRIGGER {trigger.split()[0]} ON users")
    for function in ("truncate_identifiers()", "sync_identifiers()", "refuse_identifier(uuid, text)"):
        op.execute(f"DROP FUNCTION {function}")
    op.drop_table("identifiers")
    _compute_keys(_casefold)
    _write_keys()


def _casefold(identifier: str) -> str:
    """What identifiers were compared by before this revision."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", identifier).casefold())


def _compute_keys(key_of: Callable[[str], str]) -> None:
    """Fill the temporary table new_keys with the keys of all users whose keys change."""
    connection = op.get_bind()
    op.execute(
        'CREATE TEMPORARY TABLE new_keys (id uuid PRIMARY KEY, username_key text COLLATE "C" NOT NULL,'
        ' email_key text COLLATE "C") ON COMMIT DROP'
    )
    rows = connection.execute(
        sa.text("SELECT id, username, username_key, email, email_key FROM users"),
        execution_options={"stream_results": True},
    )
    insert = sa.text("INSERT INTO new_keys VALUES (:id, :username_key, :email_key)")
    for batch in rows.partitions(_BATCH):
        changed = []
        for user_id, username, username_key, email, email_key in batch:
            keys = (key_of(username), None if email is None else key_of(email))
            if keys != (username_key, email_key):
                changed.append({"id": user_id, "username_key": keys[0], "email_key": keys[1]})
        if changed:
            connection.execute(insert, changed)
    op.execute("ANALYZE new_keys")


def _refuse_collisions() -> None:
    """Raises: CommandError, which lists the ids of all users who would have the same key"""
    found = op.get_bind().execute(sa.text(_COLLISIONS)).scalars().all()
    if found:
        raise CommandError(
            "From this release on, usernames and emails are compared in canonical form, and no username may be"
            f" another user's email. {len(found)} of them belong to several users. The users of each line:\n  "
            + "\n  ".join(found)
            + "\nNothing was changed. Run the release from before, change the named fields of all users of a line but"
            " one (or delete these users), then start this release again."
        )


def _write_keys() -> None:
    # In two steps: what one user is to have may be what another still has.
    op.execute(
        "UPDATE users SET username_key = users.id::text, email_key = users.id::text"
        " FROM new_keys AS n WHERE n.id = users.id"
    )
    op.execute(
        "UPDATE users SET username_key = n.username_key, email_key = n.email_key FROM new_keys AS n"
        " WHERE n.id = users.id"
    )
    op.execute("DROP TABLE new_keys CASCADE")
