"""Connections to PostgreSQL, transactions, migrations, the database role, and the cleaner of the search index."""
