"""What can go wrong with the private servers, in words for the person at the terminal."""


class ServerError(RuntimeError):
    """A private server cannot be started or stopped; the message says why and what to do."""


class AlreadyInUse(ServerError):
    """Another living process holds this folder of data."""
