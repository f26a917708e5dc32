"""Messages and file descriptors between the processes of the sandbox.

How this works. A `Link` is one end of a SEQPACKET socketpair: each message is one JSON object, and
may carry descriptors. Sending never blocks: what the socket does not take waits in an outbox, so
that a slow reader can't stop the supervisor. Reading returns None at the end of the stream.

Between the server (the driver) and the supervisor:

    → {"op": "open", ...settings}                      ← {"ev": "open", "layers", "missing",
                                                          "meters"} + those files, of all together
    → {"op": "prepare", "runtime"}                     ← {"ev": "prepared", "runtime", "failure"}
    → {"op": "start", "id", "runtime", "code_dir", "layers_dir", "memory_mib", "tmp_mib"}
                                                           + channel, output
                                                       ← {"ev": "started", "id", "origin", "pid",
                                                          "meters"} + those files (`meters`)
      with "is_template", or the id of one as "template"
    → {"op": "freeze", "id"}                           ← {"ev": "frozen", "id", "failure"}
    → {"op": "settle", "id", "vcpus"}
    → {"op": "count"}                                  ← {"ev": "counted", "blanks"}
    → {"op": "stop", "id"}                             ← {"ev": "exit", "id", "code", "signal",
    → {"op": "close"}                                          "out_of_memory", "peak_bytes",
                                                               "failure"}

Between the supervisor and a zygote: see `zygote`. Between the supervisor and a blank: see `blank`.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FDS = 32


class Link:
    """One end. Whoever owns it watches `fileno()` for reading, and writing while `backed_up`."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._outbox: deque[tuple[bytes, list[int]]] = deque()

    def fileno(self) -> int:
        """For selectors and event loops."""
        return self._socket.fileno()

    @property
    def backed_up(self) -> bool:
        """Whether messages wait for the other side to read."""
        return bool(self._outbox)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send now or, in order, later. The caller keeps its descriptors: they are duplicated
        when they must wait. A message to a side that is gone is dropped."""
        data = json.dumps(message).encode()
        if self._outbox or not self._try(data, fds):
            self._outbox.append((data, [os.dup(fd) for fd in fds]))

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._outbox:
            data, fds = self._outbox[0]
            if not self._try(data, fds):
                return
            self._outbox.popleft()
            close_all(fds)

    def receive(self) -> tuple[Message, list[int]] | None:
        """Return the next message; None at the end. Raises `BlockingIOError` if there is none."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, MAX_MESSAGE_BYTES, MAX_FDS)
        except ConnectionResetError:
            return None
        for fd in fds:
            os.set_inheritable(fd, False)
        return (json.loads(data), fds) if data else None

    def close(self) -> None:
        """Close this end, and what was to be sent on it."""
        self._socket.close()
        while self._outbox:
            close_all(self._outbox.popleft()[1])

    def _try(self, data: bytes, fds: Sequence[int]) -> bool:
        try:
            if fds:
                socket.send_fds(self._socket, [data], fds)
            else:
                self._socket.send(data)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            pass  # the end of the stream, which the reader will meet
        return True


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def duplicates(fds: list[int]) -> list[int]:
    """Raises `OSError`; none is left then."""
    made: list[int] = []
    try:
        for fd in fds:
            made.append(os.dup(fd))
    except OSError:
        close_all(made)
        raise
    return made
