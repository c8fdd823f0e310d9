"""Encrypted backups of PostgreSQL: full backups, WAL, their verification and their restore."""
