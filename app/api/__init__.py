"""The JSON door: three-line views over the services."""
