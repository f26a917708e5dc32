"""Web servers as functions, for tests: one that echoes and misbehaves, and its client."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.aws.runtimes import custom

DEADLINE_S = 60
LWA = {"AWS_LWA_PORT": "8080", "PORT": "8080"}

ECHO = '''\
#!/usr/bin/python3
"""What it is asked, as JSON; some paths are special."""
import http.server, json, os, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, *fields):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()

    def any(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = body = self.rfile.read(length)
        special = getattr(self, "at" + self.path.partition("?")[0].replace("/", "_"), None)
        if special:
            return special()
        seen = {
            "method": self.command, "target": self.path, "headers": self.headers.items(),
            "body": body.decode("latin-1"), "peer": self.client_address[1],
        }
        return self.answer(200, json.dumps(seen).encode(), ("Content-Type", "application/json"))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = any

    def at_count(self):
        self.answer(200, str(len(self.body)).encode())

    def at_binary(self):
        self.answer(200, bytes(range(256)), ("Content-Type", "image/png"))

    def at_untruly_text(self):
        self.answer(200, b"\\xff\\xfe", ("Content-Type", "text/plain"))

    def at_redirect(self):
        self.answer(302, b"", ("Location", "/elsewhere"))

    def at_cookies(self):
        self.answer(200, b"x", ("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"), ("Vary", "a"),
                    ("Vary", "b"))

    def at_error(self):
        self.answer(503, b"overloaded", ("Content-Type", "text/plain"))

    def at_die(self):
        os._exit(3)

    def at_garbage(self):
        self.raw(b"SSH-2.0-OpenSSH_9.2\\r\\n")
        self.close_connection = True

    def at_nothing(self):
        self.close_connection = True

    def at_upgrade(self):
        self.raw(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n\\r\\n")

    def at_interim(self):
        self.raw(b"HTTP/1.1 103 Early Hints\\r\\nLink: </x>\\r\\n\\r\\n")
        self.answer(200, b"after")

    def at_short(self):
        self.raw(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nonly this")
        self.close_connection = True

    def at_split(self):
        self.raw(b"HTTP/1.1 200 OK\\r\\nX: a\\rSet-Cookie: b\\r\\nContent-Length: 0\\r\\n\\r\\n")

    def at_huge_head(self):
        self.raw(b"HTTP/1.1 200 OK\\r\\n" + b"X: %b\\r\\n" % (b"x" * 1000) * 100 + b"\\r\\n")

    def at_to_the_end(self):
        self.raw(b"HTTP/1.0 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\nall of it")
        self.close_connection = True

    def at_chunks(self):
        self.raw(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n"
                 b"Content-Type: text/plain\\r\\n\\r\\n"
                 b"3\\r\\none\\r\\n4;x=y\\r\\n two\\r\\n0\\r\\nTrailer: x\\r\\n\\r\\n")

    def at_closes_afterwards(self):
        self.answer(200, b"bye")
        self.close_connection = True  # without saying so

    def at_closes_soon(self):
        self.at_count()
        self.wfile.flush()
        time.sleep(0.001)  # as one whose patience with idle connections ends
        self.close_connection = True

    def at_huge(self):
        self.raw(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100000000\\r\\n\\r\\n")
        for _ in range(100):
            self.raw(bytes(1_000_000))

    def at_events(self):
        self.raw(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n"
                 b"Set-Cookie: s=1\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
        self.raw(b"9\\r\\ndata: 1\\n\\n\\r\\n")
        time.sleep(float(os.environ["PAUSE_S"]))
        self.raw(b"9\\r\\ndata: 2\\n\\n\\r\\n0\\r\\n\\r\\n")

    def at_cut(self):
        self.raw(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n3\\r\\none\\r\\n")
        self.close_connection = True

http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer(
    ("127.0.0.1", int(os.environ["PORT"])), Handler
).serve_forever()
'''


def web_function(
    make_function: Any, files: Mapping[str, str | bytes] | None = None, **env: str
) -> str:
    settings = custom(files or {"bootstrap": ECHO})
    variables = {"Variables": LWA | env}
    name: str = make_function("", Timeout=30, Environment=variables, **settings)
    return name


class Caller:
    """Sends requests as they are, byte for byte."""

    def __init__(self, endpoint: str, name: str) -> None:
        parts = urlsplit(endpoint)
        self.address = (parts.hostname, parts.port)
        self.prefix = f"/_samovar/url/{name}"

    def __call__(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=DEADLINE_S)
        try:
            connection.request(method, self.prefix + path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()
