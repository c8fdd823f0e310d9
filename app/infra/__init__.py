"""Adapters to what the service stands on. Nothing here knows what a user is."""
