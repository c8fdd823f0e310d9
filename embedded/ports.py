"""Chooses TCP ports on 127.0.0.1."""

import errno
import random
import socket

HOST = "127.0.0.1"
# Below the range from which Linux (32768-60999) and macOS (49152-65535) take the ports of
# clients: no client sits on the port of a server that restarts, and a client that retries
# while the server is down cannot by chance connect to itself.
FIRST, LAST = 20_000, 32_000


def free_port() -> int:
    """Return an unused port between 20000 and 32000."""
    # Random only so that concurrent runs try different ports.
    for port in random.sample(range(FIRST, LAST), 100):
        if not is_taken(port):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port found between {FIRST} and {LAST}")


def is_taken(port: int) -> bool:
    """Return whether the port of 127.0.0.1 is in use.

    Raises: PermissionError for a port that this user may not use.
    """
    # Both checks are needed: on macOS binding succeeds beside a server on all addresses.
    with socket.socket() as client:
        client.settimeout(1)
        if client.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket() as server:
        # As servers do, so that closed connections of an earlier run are ignored.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False
