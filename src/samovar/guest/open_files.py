"""What becomes of a function's open files in a fork of its template, which has none of them.

How this works. Forks must not share open files: offset, flags and connection would be everyone's.
So they begin with none, and what init had opened is put back under the same numbers: files are
opened again, at the same place; in the place of a socket comes one whose other side has hung up,
so that a pool of connections finds them closed and makes new ones. (AWS promises no more: "the
state of connections that your function establishes during the initialization phase isn't
guaranteed".) What else there is, pipes and pollers above all, cannot be put back, and is refused.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from typing import NamedTuple

from samovar.guest.faults import FaultError

SNAPSHOT_ERROR = "Runtime.SnapshotError"

_FIRST_FD = 4
"""Below are the standard streams and the channel."""
_ONCE = os.O_CREAT | os.O_EXCL | os.O_TRUNC


class _OpenFile(NamedTuple):
    fd: int
    path: str
    """Empty: a socket."""
    flags: int
    offset: int


class OpenFiles:
    """Those that are open now, but for the runtime's own. `FaultError` where one of them cannot be
    put back."""

    def __init__(self) -> None:
        self._files = [file for file in map(_look_at, _open_fds()) if file is not None]

    def put_back(self) -> None:
        """Open them again, in a process that has none of them."""
        for file in self._files:
            if file.path:
                new = os.open(file.path, file.flags | os.O_CLOEXEC)
                if stat.S_ISREG(os.fstat(new).st_mode):
                    os.lseek(new, file.offset, os.SEEK_SET)
            else:
                ours, theirs = socket.socketpair()
                theirs.close()
                new = ours.detach()
                os.set_blocking(new, not file.flags & os.O_NONBLOCK)
            if new != file.fd:
                os.dup2(new, file.fd, inheritable=False)
                os.close(new)


def _open_fds() -> list[int]:
    most = os.sysconf("SC_OPEN_MAX")
    found = []
    for fd in range(_FIRST_FD, most):
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        except OSError:
            continue
        found.append(fd)
    return found


def _look_at(fd: int) -> _OpenFile:
    mode = os.fstat(fd).st_mode
    flags = fcntl.fcntl(fd, fcntl.F_GETFL) & ~_ONCE
    if stat.S_ISSOCK(mode):
        return _OpenFile(fd, "", flags, 0)
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        path = f"descriptor {fd}"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISCHR(mode)):
        raise _refusal(path)
    try:
        same = os.path.samestat(os.stat(path), os.fstat(fd))
    except OSError:
        same = False
    if not same:
        raise _refusal(path)
    offset = os.lseek(fd, 0, os.SEEK_CUR) if stat.S_ISREG(mode) else 0
    return _OpenFile(fd, path, flags, offset)


def _refusal(path: str) -> FaultError:
    return FaultError(
        SNAPSHOT_ERROR,
        f"The function's init has left {path} open, which cannot be part of a snapshot. Open it in "
        "the handler, or in a hook of register_after_restore.",
    )
