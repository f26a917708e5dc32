"""What stands between a client and a server, for tests of servers that fail for a while."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from urllib.parse import urlsplit


class Middleman(socketserver.ThreadingTCPServer):
    """Passes on what is sent to a server, or while it is `refusing` hangs up on who sends."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        self.upstream = urlsplit(endpoint)
        self.refusing = False
        super().__init__(("127.0.0.1", 0), Passing)


class Passing(socketserver.BaseRequestHandler):
    """One connection."""

    server: Middleman

    def handle(self) -> None:
        there = (self.server.upstream.hostname, self.server.upstream.port)
        with socket.create_connection(there) as upstream, contextlib.suppress(OSError):
            back = threading.Thread(target=self._pass_back, args=(upstream,), daemon=True)
            back.start()
            while (sent := self.request.recv(65536)) and not self.server.refusing:
                upstream.sendall(sent)
            upstream.shutdown(socket.SHUT_RDWR)
            back.join()

    def _pass_back(self, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while answered := upstream.recv(65536):
                self.request.sendall(answered)
            self.request.shutdown(socket.SHUT_RDWR)
