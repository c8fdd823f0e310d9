"""Cached answers, and how a host learns that they are out of date."""
