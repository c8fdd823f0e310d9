-- Run by monitoring-role, as the superuser.
\getenv password MONITORING_PASSWORD
-- A failed statement would be logged with the password.
SET log_min_error_statement = panic;
SET client_min_messages = warning;
BEGIN;
SELECT 'CREATE ROLE monitoring' WHERE to_regrole('monitoring') IS NULL \gexec
ALTER ROLE monitoring LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 5
    PASSWORD :'password';
GRANT pg_monitor TO monitoring;
COMMIT;
