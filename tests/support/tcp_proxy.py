"""A TCP proxy that can delay, drop or refuse the traffic to a server."""

import contextlib
import select
import socket
import threading
import time
from typing import Self


class Proxy:
    """Forwards connections to `port` of this machine, and delays data of the server by `delay_s`. Counts connections.

    address: where it listens. mute: accept connections, but send nothing. refuse: close new connections at once.
    """

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._target = ("127.0.0.1", port)
        self.delay_s = 0.0
        self.mute = False
        self.refuse = False
        self.connections = 0
        self._open: list[socket.socket] = []
        self._server = self.serve
        self._closed = False
        self._listener = socket.create_server((address, 0))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    def divert(self, other: "Proxy") -> None:
        """Let `other` forward all new connections."""
        self._server = other.serve

    def cut(self) -> None:
        """Shut down all open connections."""
        for one in self._open[:]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self.cut()
        self._thread.join(5)
        self._listener.close()

    def _listen(self) -> None:
        threads = []
        while not self._closed:
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            client, _ = self._listener.accept()
            self.connections += 1
            if self.refuse:
                client.close()
                continue
            threads.append(threading.Thread(target=self._server, args=(client,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join(5)

    def serve(self, client: socket.socket) -> None:
        """Forward bytes between a client and the server until one of them closes."""
        with client, contextlib.suppress(OSError), socket.create_connection(self._target) as server:
            ends = [client, server]
            for one in ends:
                # Servers and their clients do not wait to send more at once, either: that would cost 40 ms.
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += ends
            try:
                while not self._closed:
                    for one in select.select(ends, [], [], 0.05)[0]:
                        data = one.recv(65536)
                        if not data:
                            return
                        if one is server and self.delay_s:
                            time.sleep(self.delay_s)
                        if self.mute:
                            continue
                        (server if one is client else client).sendall(data)
            finally:
                for one in ends:
                    self._open.remove(one)
