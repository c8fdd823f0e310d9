"""The JSON API: thin views over the services."""
