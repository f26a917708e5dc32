"""Instances of the Python runtime loop for tests: real processes, forked from a small zygote.

One zygote per interpreter, which does what a sandbox's would (import the loop, fork, point fds 1
and 2 at a pipe, call `serve`) and isolates nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import samovar
from samovar.guest import wire

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
SOURCES = Path(samovar.__file__).parent.parent
ANSWER_WITHIN_S = 20.0

_ZYGOTE = """
import gc, os, socket, sys
control = socket.socket(fileno=int(sys.argv[2]))
sys.path.append(sys.argv[1])
from samovar.guest.python_loop import prepare, serve
gc.collect(); gc.freeze(); gc.disable()
while True:
    order, fds, _, _ = socket.recv_fds(control, 100, 3)
    if not order:
        break
    if order in (b"start", b"blank"):
        pid = os.fork()
        if pid == 0:
            try:
                control.close()
                if order == b"blank":
                    prepare(fds[2])
                    os.write(fds[2], b"prepared")
                    os.read(fds[2], 1)
                os.dup2(fds[1], 1); os.dup2(fds[1], 2)
                for fd in fds[1:]:
                    os.close(fd)
                serve(socket.socket(fileno=fds[0]))
            finally:
                os._exit(99)
        for fd in fds:
            os.close(fd)
        control.send(b"%d" % pid)
    else:
        control.send(b"%d" % os.waitpid(int(order), 0)[1])
"""


def find_interpreter(version: str) -> str | None:
    """A CPython of that version, real rather than a version manager's shim where there is one."""
    candidates = [
        Path(f"/usr/bin/python{version}"),
        Path(f"/usr/local/bin/python{version}"),
        *Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"),
    ]
    for path in candidates:
        if path.exists():
            return str(path)
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    return shutil.which(f"python{version}")


INTERPRETERS = {version: path for version in VERSIONS if (path := find_interpreter(version))}


class Zygote:
    def __init__(self, interpreter: str) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(ANSWER_WITHIN_S)
        fd = str(theirs.fileno())
        self._process = subprocess.Popen(
            [interpreter, "-I", "-c", _ZYGOTE, str(SOURCES), fd],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

    def fork(self, channel: socket.socket, output_fd: int) -> int:
        socket.send_fds(self._control, [b"start"], [channel.fileno(), output_fd])
        return int(self._control.recv(100))

    def fork_blank(self, channel: socket.socket, output_fd: int, control_fd: int) -> int:
        """It becomes an instance when there is something to read on `control_fd`."""
        socket.send_fds(self._control, [b"blank"], [channel.fileno(), output_fd, control_fd])
        return int(self._control.recv(100))

    def wait(self, pid: int) -> int:
        """The wait status of an instance that is at its end."""
        self._control.send(b"%d" % pid)
        return int(self._control.recv(100))

    def close(self) -> None:
        self._control.close()
        try:
            self._process.wait(ANSWER_WITHIN_S)
        finally:
            self._process.kill()


@dataclasses.dataclass(frozen=True)
class Answer:
    kind: int
    meta: dict[str, Any]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Lane:
    """One channel of many, as the worker has it."""

    def __init__(self, first: socket.socket) -> None:
        self.channel, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(first, [wire.encode(wire.LANE)], [theirs.fileno()])
        self.channel.settimeout(ANSWER_WITHIN_S)
        self._reader = wire.FrameReader()
        self._frames: list[wire.Frame] = []

    def begin(self, event: Any = None, **meta: Any) -> None:
        """Invoke, and do not wait."""
        given = {name: value for name, value in invoke_meta(**meta).items() if value is not None}
        self.channel.sendall(wire.encode(wire.INVOKE, given, json.dumps(event).encode()))

    def answer(self) -> Answer:
        while not self._frames:
            data = self.channel.recv(wire.RECV_BYTES)
            if not data:
                raise EOFError("the instance has closed the lane")
            self._frames += self._reader.feed(data)
        return Answer(*self._frames.pop(0))

    def invoke(self, event: Any = None, **meta: Any) -> Answer:
        self.begin(event, **meta)
        return self.answer()


class Instance:
    """One forked instance; `init` and `invoke` speak to its loop as a worker does."""

    def __init__(self, zygote: Zygote, task_root: Path, control_fd: int | None = None) -> None:
        self.task_root = task_root
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(ANSWER_WITHIN_S)
        self._output_fd, output = os.pipe()
        os.set_blocking(self._output_fd, False)
        self._output = b""
        self._zygote = zygote
        self._lanes: list[Lane] = []
        if control_fd is None:
            self.pid = zygote.fork(theirs, output)
        else:
            self.pid = zygote.fork_blank(theirs, output, control_fd)
        self._status: int | None = None
        theirs.close()
        os.close(output)
        self._reader = wire.FrameReader()

    def init(
        self, handler: str = "app.handler", env: dict[str, str] | None = None, **more: Any
    ) -> Answer:
        meta = {
            "handler": handler,
            "task_root": str(self.task_root),
            "env": {"TZ": ":UTC"} if env is None else env,
            "runtime": "python3",
            **more,
        }
        return self.ask(wire.INIT, meta)

    def lane(self) -> Lane:
        """Give it one more channel."""
        self._lanes.append(Lane(self.channel))
        return self._lanes[-1]

    def invoke(self, event: Any = None, **meta: Any) -> Answer:
        return self.ask(wire.INVOKE, invoke_meta(**meta), json.dumps(event).encode())

    def ask(self, kind: int, meta: dict[str, Any], body: bytes = b"") -> Answer:
        self.channel.sendall(wire.encode(kind, meta, body))
        return self.answer()

    def answer(self) -> Answer:
        while True:
            # Draining the pipe meanwhile, as a worker does: a full one stops whoever prints.
            while not select.select([self.channel], [], [], 0)[0]:
                readable, _, _ = select.select([self.channel, self._output_fd], [], [], 20)
                if self._output_fd in readable and not self._drain():
                    break
            data = self.channel.recv(wire.RECV_BYTES)
            assert data, f"the instance ended: {self.output()}"
            frames = list(self._reader.feed(data))
            if frames:
                assert len(frames) == 1, frames
                return Answer(*frames[0])

    def _drain(self) -> bool:
        """Take what is in the pipe; False when nobody writes to it any more."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._output_fd, 65536):
                self._output += chunk
            return False
        return True

    def output(self) -> str:
        """What has been printed by now, since the last call."""
        self._drain()
        text = self._output.decode()
        self._output = b""
        return text

    def wait(self) -> int:
        """Wait for its end: the exit status, or minus the signal."""
        if self._status is None:
            self._status = self._zygote.wait(self.pid)
        return os.waitstatus_to_exitcode(self._status)

    def exit_status_of(self, event: Any) -> int:
        """Invoke it and see it end without an answer."""
        frame = wire.encode(wire.INVOKE, invoke_meta(), json.dumps(event).encode())
        self.channel.sendall(frame)
        status = self.wait()
        assert self.channel.recv(1) == b""
        return status

    def close(self) -> None:
        if self._status is None:
            # Its zygote has not reaped it yet, so the pid is its own. (0 would be us all.)
            assert self.pid > 0
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        self.channel.close()
        for lane in self._lanes:
            lane.channel.close()
        os.close(self._output_fd)


StartInstance = Callable[..., Instance]


def invoke_meta(**meta: Any) -> dict[str, Any]:
    return {
        "id": "request-1",
        "arn": "arn:aws:lambda:us-east-1:000000000000:function:greet",
        "deadline_ms": int(time.time() * 1000) + 3000,
        "client_context": None,
        "trace_id": None,
        **meta,
    }
