"""Errors of the private servers, with messages for the terminal."""


class ServerError(RuntimeError):
    """A private server can't be started or stopped. The message has the cause and a solution."""


class AlreadyInUse(ServerError):
    """Another running process uses this data folder."""
