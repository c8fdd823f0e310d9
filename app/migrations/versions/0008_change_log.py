"""The history becomes the log of all changes: each row has its transaction, and triggers record changes by SQL."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Executed by the statements of the service. Who may execute it may mark a transaction.
_MARK = """
CREATE FUNCTION mark_internal_change() RETURNS text LANGUAGE sql
RETURN set_config('fullstack_app.internal', 'yes', true)
"""

# At depth 0, so that what somebody's trigger changes within a statement of the service is recorded, too.
_IS_EXTERNAL = """
(current_setting('fullstack_app.internal', true) = 'yes' AND pg_trigger_depth() = 0
  AND has_function_privilege(session_user, 'mark_internal_change()'::regprocedure, 'EXECUTE')) IS NOT TRUE
"""

# Values as rows.diff compares them: by jsonb's text, in which 1 is not 1.0, and names have no order.
_USER_CHANGES = """
CREATE FUNCTION user_changes(old_user users, new_user users) RETURNS json LANGUAGE sql STABLE AS $$
  SELECT coalesce(json_agg(json_build_object('field', field, 'old', old, 'new', new) ORDER BY place, field COLLATE "C"), '[]')
  FROM (
    SELECT place, field, old, new FROM (VALUES
      (1, 'username', to_json(old_user.username), to_json(new_user.username)),
      (2, 'email', to_json(old_user.email), to_json(new_user.email)),
      (3, 'name', to_json(old_user.name), to_json(new_user.name)),
      (4, 'role', to_json(old_user.role), to_json(new_user.role)),
      (5, 'active', to_json(old_user.active), to_json(new_user.active))
    ) AS fields(place, field, old, new)
    WHERE old::text IS DISTINCT FROM new::text
    UNION ALL
    SELECT 6, 'attributes.' || key, o.value, n.value
    FROM json_each(attributes_object(old_user.attributes)) AS o
    FULL JOIN json_each(attributes_object(new_user.attributes)) AS n USING (key)
    WHERE o.value::jsonb::text IS DISTINCT FROM n.value::jsonb::text
    UNION ALL
    SELECT 7, 'password', NULL, NULL WHERE old_user.password_hash IS DISTINCT FROM new_user.password_hash
    UNION ALL
    SELECT 8, 'created_at', to_json(utc_text(old_user.created_at)), to_json(utc_text(new_user.created_at))
    WHERE old_user.created_at <> new_user.created_at
  ) AS changes
$$
"""

# Attributes that are no object, or that jsonb can't hold (U+0000), have no differences: no statement fails for them.
_ATTRIBUTES_OBJECT = """
CREATE FUNCTION attributes_object(attributes json) RETURNS json LANGUAGE sql IMMUTABLE
RETURN CASE WHEN json_typeof(attributes) = 'object' AND pg_input_is_valid(attributes::text, 'jsonb')
  THEN attributes ELSE '{}' END
"""

_UTC_TEXT = """
CREATE FUNCTION utc_text(moment timestamptz) RETURNS text LANGUAGE sql STABLE
RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
"""

_TOKEN_JSON = """
CREATE FUNCTION token_json(token tokens, with_expiry boolean) RETURNS json LANGUAGE sql STABLE
RETURN CASE WHEN (token).id IS NULL THEN NULL
  WHEN with_expiry THEN json_build_object('id', (token).id, 'name', (token).name, 'role', (token).role,
    'expires_at', utc_text((token).expires_at))
  ELSE json_build_object('id', (token).id, 'name', (token).name, 'role', (token).role) END
"""  # noqa: S105 - no secret

# A changed id is the end of one user and the beginning of another, hence the FULL JOIN. Of who was purged no values stay.
_RECORD_USERS = """
CREATE FUNCTION record_external_user_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  old_users users[] := '{}';
  new_users users[] := '{}';
BEGIN
  IF TG_OP IN ('UPDATE', 'DELETE') THEN
    old_users := ARRAY(SELECT ROW(o.*)::users FROM old_rows AS o LIMIT 1001);
  END IF;
  IF TG_OP IN ('INSERT', 'UPDATE') THEN
    new_users := ARRAY(SELECT ROW(n.*)::users FROM new_rows AS n LIMIT 1001);
  END IF;
  IF TG_OP = 'TRUNCATE' OR greatest(cardinality(old_users), cardinality(new_users)) > 1000 THEN
    INSERT INTO history (user_id, version, action, actor, changes) VALUES (NULL, 0,
      CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'purged' END,
      'sql:' || session_user, '[]');
    RETURN NULL;
  END IF;
  INSERT INTO history (user_id, version, action, actor, changes)
  SELECT coalesce(n.id, o.id), coalesce(n.version, o.version + 1),
    CASE WHEN o.id IS NULL THEN 'created' WHEN n.id IS NULL THEN 'purged'
      WHEN o.deleted_at IS NULL AND n.deleted_at IS NOT NULL THEN 'deleted'
      WHEN o.deleted_at IS NOT NULL AND n.deleted_at IS NULL THEN 'restored'
      WHEN o.session_epoch <> n.session_epoch AND d.changes::text = '[]' THEN 'sessions_ended' ELSE 'changed' END,
    'sql:' || session_user, d.changes
  FROM unnest(old_users) AS o FULL JOIN unnest(new_users) AS n ON n.id = o.id
  CROSS JOIN LATERAL (SELECT CASE WHEN n.id IS NULL THEN '[]' ELSE user_changes(o, n) END AS changes) AS d
  WHERE (o *= n) IS NOT TRUE;
  RETURN NULL;
END $$
"""

_RECORD_TOKENS = """
CREATE FUNCTION record_external_token_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  old_tokens tokens[] := '{}';
  new_tokens tokens[] := '{}';
BEGIN
  IF TG_OP IN ('UPDATE', 'DELETE') THEN
    old_tokens := ARRAY(SELECT ROW(o.*)::tokens FROM old_rows AS o LIMIT 1001);
  END IF;
  IF TG_OP IN ('INSERT', 'UPDATE') THEN
    new_tokens := ARRAY(SELECT ROW(n.*)::tokens FROM new_rows AS n LIMIT 1001);
  END IF;
  IF TG_OP = 'TRUNCATE' OR greatest(cardinality(old_tokens), cardinality(new_tokens)) > 1000 THEN
    INSERT INTO history (user_id, version, action, actor, changes) VALUES (NULL, 0,
      CASE TG_OP WHEN 'INSERT' THEN 'token_created' WHEN 'UPDATE' THEN 'changed' ELSE 'token_revoked' END,
      'sql:' || session_user, '[]');
    RETURN NULL;
  END IF;
  INSERT INTO history (user_id, version, action, actor, changes)
  SELECT coalesce(n.user_id, o.user_id),
    coalesce(u.version, (SELECT max(h.version) FROM history AS h WHERE h.user_id = coalesce(n.user_id, o.user_id)), 1),
    CASE WHEN o.id IS NULL THEN 'token_created' WHEN n.id IS NULL THEN 'token_revoked' ELSE 'changed' END,
    'sql:' || session_user,
    json_build_array(json_build_object('field', 'token',
      'old', token_json(o, n.id IS NOT NULL), 'new', token_json(n, o.id IS NOT NULL)))
  FROM unnest(old_tokens) AS o FULL JOIN unnest(new_tokens) AS n ON (n.id, n.user_id) = (o.id, o.user_id)
  LEFT JOIN users AS u ON u.id = coalesce(n.user_id, o.user_id)
  WHERE (o.name, o.role, o.digest, o.created_at, o.expires_at) IS DISTINCT FROM
    (n.name, n.role, n.digest, n.created_at, n.expires_at);
  RETURN NULL;
END $$
"""

# If-None-Match would answer 304 to what was changed.
_RAISE_VERSION = """
CREATE FUNCTION raise_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.version := greatest(NEW.version, OLD.version + 1);
  IF NEW.updated_at = OLD.updated_at THEN
    NEW.updated_at := greatest(now(), OLD.updated_at);
  END IF;
  RETURN NEW;
END $$
"""

_RECORDERS = {"users": "record_external_user_change()", "tokens": "record_external_token_change()"}
_TABLES_OF_ROWS = {
    "INSERT": "REFERENCING NEW TABLE AS new_rows",
    "UPDATE": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "DELETE": "REFERENCING OLD TABLE AS old_rows",
    "TRUNCATE": "",
}
_WITH_SEARCH_PATH = (*_RECORDERS.values(), "raise_version()")
_FUNCTIONS = (
    *_WITH_SEARCH_PATH,
    "user_changes(users, users)",
    "token_json(tokens, boolean)",
    "attributes_object(json)",
    "utc_text(timestamptz)",
    "mark_internal_change()",
)


def upgrade() -> None:
    # Rows from before get a constant, for which the table is not written anew.
    op.execute("ALTER TABLE history ADD COLUMN xid xid8 NOT NULL DEFAULT '3', ALTER COLUMN user_id DROP NOT NULL")
    op.execute("ALTER TABLE history ALTER COLUMN xid SET DEFAULT pg_current_xact_id()")
    for function in (
        *(_MARK, _ATTRIBUTES_OBJECT, _UTC_TEXT, _USER_CHANGES, _TOKEN_JSON),
        *(_RECORD_USERS, _RECORD_TOKENS, _RAISE_VERSION),
    ):
        op.execute(function)
    _protect_functions()
    for table, function in _RECORDERS.items():
        for event, rows in _TABLES_OF_ROWS.items():
            _create_trigger(
                table, f"record_external_{event.lower()}", f"AFTER {event}", f"{rows} FOR EACH STATEMENT", function
            )
    _create_trigger(
        *("users", "raise_version", "BEFORE UPDATE", "FOR EACH ROW", "raise_version()"),
        "NEW.version <= OLD.version AND NEW *<> OLD AND ",
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER users_raise_version ON users")
    for table in _RECORDERS:
        for event in _TABLES_OF_ROWS:
            op.execute(f"DROP TRIGGER {table}_record_external_{event.lower()} ON {table}")
    for function in _FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
    op.drop_column("history", "xid")
    op.execute("DELETE FROM history WHERE user_id IS NULL")
    op.alter_column("history", "user_id", nullable=False)


def _protect_functions() -> None:
    for function in _WITH_SEARCH_PATH:
        op.execute(
            "DO $do$ BEGIN EXECUTE format("
            f"'ALTER FUNCTION {function} SET search_path = pg_catalog, %I, pg_temp', current_schema()); END $do$"
        )
    for function in (*_RECORDERS.values(), "mark_internal_change()"):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")


def _create_trigger(table: str, name: str, event: str, scope: str, function: str, condition: str = "") -> None:
    op.execute(
        f"CREATE TRIGGER {table}_{name} {event} ON {table} {scope} WHEN ({condition}{_IS_EXTERNAL})"
        f" EXECUTE FUNCTION {function}"
    )
    op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{name}")
