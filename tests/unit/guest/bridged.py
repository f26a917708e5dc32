"""Bridged instances for tests: a real bridge in a process of its own, real programs, no isolation.

The test is the worker. Programs and extensions are Python scripts that begin with `CLIENT`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import samovar
from samovar.guest import wire
from tests.unit.guest.zygote import Lane

WITHIN_S = 30.0
SOURCES = Path(samovar.__file__).parent.parent

_BRIDGE = """
import socket, sys
sys.path.append(sys.argv[1])
from samovar.guest import bridge
bridge.configure({"provided": {"argv": [], "environment": {}}})
bridge.serve(socket.socket(fileno=int(sys.argv[2])))
"""

CLIENT = '''\
#!/usr/bin/python3
import http.client, http.server, json, os, signal, socket, sys, threading, time

HOST = os.environ["AWS_LAMBDA_RUNTIME_API"]
NAME = os.path.basename(sys.argv[0])

def call(method, path, body=None, headers={}):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection(HOST)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, answer.headers, text

def next_invocation():
    status, headers, body = call("GET", "/2018-06-01/runtime/invocation/next")
    return headers["Lambda-Runtime-Aws-Request-Id"], json.loads(body)

def respond(id, value):
    return call("POST", f"/2018-06-01/runtime/invocation/{id}/response", json.dumps(value))

def register(*events, name=NAME, features=""):
    status, headers, body = call(
        "POST", "/2020-01-01/extension/register", json.dumps({"events": events}),
        {"Lambda-Extension-Name": name, "Lambda-Extension-Accept-Feature": features})
    assert status == 200, body
    return headers["Lambda-Extension-Identifier"]

def next_event(id):
    status, headers, body = call(
        "GET", "/2020-01-01/extension/event/next", headers={"Lambda-Extension-Identifier": id})
    assert status == 200, body
    return json.loads(body)

def report(what, id, kind="Extension.Told"):
    return call("POST", f"/2020-01-01/extension/{what}/error", "{}",
        {"Lambda-Extension-Identifier": id, "Lambda-Extension-Function-Error-Type": kind})

def subscribe(id, port, path="/2022-07-01/telemetry", **more):
    request = {"schemaVersion": "2022-07-01", "types": ["platform", "function", "extension"],
               "buffering": {"timeoutMs": 25},
               "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{port}"}}
    return call("PUT", path, json.dumps({**request, **more}), {"Lambda-Extension-Identifier": id})

def listen(take):
    """Serve telemetry on a port of our own; returns it."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            take(events)
            self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port

'''

ECHO = """
    while True:
        id, event = next_invocation()
        respond(id, event)
"""

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "_HANDLER": "app.handler",
    "AWS_LAMBDA_FUNCTION_NAME": "tea",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_ACCESS_KEY_ID": "123456789012",
    "LAMBDA_TASK_ROOT": "/var/task",
}


class BridgedInstance:
    """One bridge with `program`, and `extensions` by name; the scripts follow `CLIENT`. It prints
    to `log`, by default a file of its own."""

    def __init__(
        self, folder: Path, program: str, extensions: dict[str, str], log: Path | None = None
    ) -> None:
        self.folder = folder
        for name in ("code", "opt/extensions"):
            (folder / name).mkdir(parents=True)
        write_script(folder / "code" / "bootstrap", program)
        for name, script in extensions.items():
            write_script(folder / "opt" / "extensions" / name, script)
        self._sock, theirs = socket.socketpair()
        self._sock.settimeout(WITHIN_S)
        self._log_path = log or folder / "log"
        self._reader = wire.FrameReader()
        self._frames: list[wire.Frame] = []
        self._at_work = False
        self._lanes: list[Lane] = []
        with theirs, self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BRIDGE, str(SOURCES), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=folder,
            )

    def init(self, concurrency: int = 1, **env: str) -> wire.Frame:
        """Send INIT; return the answer."""
        meta = {
            "runtime": "provided",
            "task_root": str(self.folder / "code"),
            "opt": str(self.folder / "opt"),
            "env": ENVIRONMENT | {"TEST_FOLDER": str(self.folder)} | env,
            "concurrency": concurrency,
        }
        self.send(wire.INIT, meta)
        return self.read()

    def invoke(self, event: Any, request_id: str = "id-1") -> wire.Frame:
        """Send INVOKE as soon as it is at rest; return the answer."""
        if self._at_work:
            assert self.read()[0] == wire.IDLE
        deadline_ms = int(time.time() * 1e3) + 60_000
        meta = {"id": request_id, "arn": "arn:aws:lambda:x", "deadline_ms": deadline_ms}
        self.send(wire.INVOKE, meta, json.dumps(event).encode())
        return self.read()

    def lane(self) -> Lane:
        """Give it one more channel."""
        self._lanes.append(Lane(self._sock))
        return self._lanes[-1]

    def shut_down(self, reason: str = "spindown", limit_ms: int = 2_000) -> int:
        """Send SHUTDOWN; return the exit status."""
        deadline_ms = int(time.time() * 1e3) + limit_ms
        self.send(wire.SHUTDOWN, {"reason": reason, "deadline_ms": deadline_ms})
        return self.wait()

    def send(self, kind: int, meta: wire.Meta, body: bytes = b"") -> None:
        self._sock.sendall(wire.encode(kind, meta, body))

    def read(self) -> wire.Frame:
        """The next frame; `EOFError` where the bridge has hung up."""
        while not self._frames:
            data = self._sock.recv(wire.RECV_BYTES)
            if not data:
                raise EOFError
            self._frames += self._reader.feed(data)
        frame = self._frames.pop(0)
        self._at_work = "pending" in frame[1]
        return frame

    def wait(self) -> int:
        """For its end; the exit status, negative for a signal."""
        return self.process.wait(WITHIN_S)

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def notes(self, name: str) -> list[Any]:
        """What a script has written, line by line, with `note(name, value)`."""
        path = self.folder / name
        if not path.exists():
            return []
        # The last line may be half written: the kernel appends page by page.
        whole, _, _ = path.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def notes_until(self, name: str) -> list[Any]:
        """The same, as soon as there are any."""
        deadline = time.monotonic() + WITHIN_S
        while not (notes := self.notes(name)):
            assert time.monotonic() < deadline
            self.pause()
        return notes

    def pause(self) -> None:
        """Between two looks at something that changes."""
        threading.Event().wait(0.01)

    def await_end_of(self, pid: int) -> None:
        """A process that has been killed ends when it next runs; nobody may reap it here."""
        deadline = time.monotonic() + WITHIN_S
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            while ") Z " not in Path(f"/proc/{pid}/stat").read_text():
                assert time.monotonic() < deadline, f"process {pid} lives on"
                self.pause()

    def memory_kib(self) -> int:
        """What the bridge occupies."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def descriptors(self) -> int:
        """How many the bridge has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def close(self) -> None:
        for channel in (self._sock, *(lane.channel for lane in self._lanes)):
            channel.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(WITHIN_S)
        for pid in self._left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _left(self) -> list[int]:
        """Extensions have sessions of their own, and here is no namespace that ends with the
        bridge: they are known by their environment."""
        mark = f"TEST_FOLDER={self.folder}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has just ended
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found


_NOTES = """
def note(name, value):
    with open(os.path.join(os.environ["TEST_FOLDER"], name), "a") as file:
        file.write(json.dumps(value) + "\\n")

"""


def write_script(path: Path, script: str) -> None:
    """An executable that begins with `CLIENT`."""
    path.write_text(CLIENT + _NOTES + textwrap.dedent(script))
    path.chmod(0o755)
