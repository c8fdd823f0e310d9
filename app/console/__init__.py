"""The console: the HTML interface of the service."""
