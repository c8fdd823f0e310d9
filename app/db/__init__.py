"""Connections to PostgreSQL, transactions and migrations."""
