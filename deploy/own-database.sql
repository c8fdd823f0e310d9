-- Run by own-database, as the superuser.
\getenv owner DATABASE_OWNER
\getenv role DATABASE_ROLE
\getenv password OWNER_PASSWORD
-- A failed statement would be logged with the password.
SET log_min_error_statement = panic;
SET client_min_messages = warning;
BEGIN;
SELECT format('CREATE ROLE %I', :'owner') WHERE to_regrole(quote_ident(:'owner')) IS NULL \gexec
ALTER ROLE :"owner" LOGIN CREATEROLE NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS PASSWORD :'password';

-- The superuser created the role of the service in an earlier release. The owner sets its password.
SELECT format('GRANT %I TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', rolname, :'owner')
FROM pg_roles
WHERE rolname = :'role' AND rolname NOT IN (:'owner', current_user) \gexec

SELECT format('ALTER DATABASE %I OWNER TO %I', datname, :'owner')
FROM pg_database
WHERE datname = current_database() AND datdba = current_user::regrole \gexec

-- What the superuser owns in this database, without the catalogs, the members of extensions, and sequences of columns,
-- which follow their table.
CREATE TEMPORARY VIEW owned AS
WITH own (class, id, namespace, statement) AS (
    SELECT 'pg_class'::regclass, oid, relnamespace,
        CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
            WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END || ' ' || oid::regclass
    FROM pg_class
    WHERE relowner = current_user::regrole AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
    UNION ALL
    SELECT 'pg_proc'::regclass, oid, pronamespace,
        CASE WHEN prokind = 'a' THEN 'AGGREGATE ' ELSE 'ROUTINE ' END || oid::regprocedure
    FROM pg_proc WHERE proowner = current_user::regrole
    UNION ALL
    SELECT 'pg_type'::regclass, oid, typnamespace, 'TYPE ' || oid::regtype
    FROM pg_type WHERE typowner = current_user::regrole AND typtype IN ('d', 'e', 'r')
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, oid, stxnamespace,
        format('STATISTICS %I.%I', stxnamespace::regnamespace::text, stxname)
    FROM pg_statistic_ext WHERE stxowner = current_user::regrole
    UNION ALL
    SELECT 'pg_namespace'::regclass, oid, oid, format('SCHEMA %I', nspname)
    FROM pg_namespace WHERE nspowner = current_user::regrole
)
SELECT class, id, statement
FROM own
WHERE namespace::regnamespace::text !~ '^(pg_|information_schema$)'
    AND NOT EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = own.class AND d.objid = own.id
            AND (
                d.deptype = 'e'
                OR (d.deptype IN ('a', 'i') AND d.classid = 'pg_class'::regclass
                    AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0)
            )
    );
SELECT format('ALTER %s OWNER TO %I', statement, :'owner') FROM owned \gexec
COMMIT;
