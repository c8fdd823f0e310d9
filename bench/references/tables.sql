-- The tables of the references: the same users that are not deleted, without what only our service needs (folded keys,
-- tags, the trash), so that no reference pays for our fifteen indexes when it writes.

-- For the exercise's code and the template: what a model with unique fields and a list by age gives.
CREATE TABLE plain_users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    username text NOT NULL,
    email text,
    name text NOT NULL,
    role text NOT NULL DEFAULT 'member',
    active boolean NOT NULL DEFAULT true,
    attributes json NOT NULL DEFAULT '{}',
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO plain_users
SELECT id, username, email, name, role, active, attributes, version, created_at, updated_at
FROM users WHERE deleted_at IS NULL ORDER BY created_at;
CREATE UNIQUE INDEX ON plain_users (username);
CREATE UNIQUE INDEX ON plain_users (email);
CREATE INDEX ON plain_users (created_at, id);

-- For those that search as PostgreSQL's manual advises (12.2.2, a stored generated column): by an index of words.
CREATE TABLE searchable_users (
    LIKE plain_users INCLUDING DEFAULTS,
    search tsvector GENERATED ALWAYS AS (
        to_tsvector('simple', name || ' ' || username || ' ' || coalesce(email, ''))
    ) STORED
);
INSERT INTO searchable_users SELECT * FROM plain_users;
ALTER TABLE searchable_users ADD PRIMARY KEY (id);
CREATE UNIQUE INDEX ON searchable_users (username);
CREATE UNIQUE INDEX ON searchable_users (email);
CREATE INDEX ON searchable_users (created_at, id);
CREATE INDEX ON searchable_users USING gin (search);
