"""Caches, and their invalidation."""
