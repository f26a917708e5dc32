"""Bridges for tests: real ones, in a process of their own, whose worker is the test.

Nothing isolates them; the program is the package's `bootstrap`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samovar.guest import wire

ANSWER_WITHIN_S = 20.0

_BRIDGE = """
import socket, sys
from samovar.guest import bridge
bridge.configure({"any": {"argv": [], "environment": {}}})
bridge.serve(socket.socket(fileno=int(sys.argv[1])))
"""


class Bridged:
    """One instance. `told` has what its program wrote, after `ended`."""

    def __init__(self, task_root: Path, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (task_root / name).write_text(text)
            (task_root / name).chmod(0o755)
        self.task_root = task_root
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(ANSWER_WITHIN_S)
        self._frames: list[wire.Frame] = []
        self._reader = wire.FrameReader()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BRIDGE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        init = {"runtime": "any", "task_root": str(task_root), "env": {"HOME": str(task_root)}}
        self.send(wire.INIT, init)

    def send(self, kind: int, meta: Mapping[str, Any] | None = None, body: bytes = b"") -> None:
        self.channel.sendall(wire.encode(kind, dict(meta or {}), body))

    def invoke(self, request_id: str = "one", event: bytes = b"null", **meta: Any) -> None:
        deadline_ms = int(time.time() * 1e3) + 60_000
        self.send(
            wire.INVOKE, {"id": request_id, "arn": "a", "deadline_ms": deadline_ms} | meta, event
        )

    def frame(self) -> wire.Frame:
        """The next one."""
        while not self._frames:
            data = self.channel.recv(wire.RECV_BYTES)
            assert data, "it has ended"
            self._frames = list(self._reader.feed(data))
        return self._frames.pop(0)

    def answer(self) -> list[wire.Frame]:
        """All frames up to the end of an invocation."""
        frames = [self.frame()]
        while frames[-1][0] not in (wire.RESPONSE, wire.ERROR):
            frames.append(self.frame())
        return frames

    def rest(self) -> None:
        """Wait until it can take the next invocation."""
        assert self.frame() == (wire.IDLE, {}, b"")

    def ended(self) -> int:
        """Its exit status, or minus its signal; after reading whatever it still has to say."""
        while self.channel.recv(wire.RECV_BYTES):
            pass
        return self.process.wait(ANSWER_WITHIN_S)

    def close(self) -> None:
        self.channel.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(ANSWER_WITHIN_S)


def parts(frames: list[wire.Frame]) -> bytes:
    """What was streamed."""
    return b"".join(body for kind, _, body in frames if kind == wire.PART)


def kinds(frames: list[wire.Frame]) -> Iterator[int]:
    """The types of frames, repeated ones once."""
    last = None
    for kind, _, _ in frames:
        if kind != last:
            yield kind
        last = kind
