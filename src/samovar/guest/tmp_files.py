"""What init has left in /tmp: it is there in each instance that begins from the snapshot.

Held in memory, which forks share until they change it, so it is bounded.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple, Optional

from samovar.guest.faults import FaultError
from samovar.guest.open_files import SNAPSHOT_ERROR

TMP = "/tmp"  # noqa: S108 - the instance's own
MAX_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 4096


class _Entry(NamedTuple):
    path: str
    mode: int
    content: Optional[bytes]  # noqa: UP045 - evaluated, so 3.9 must understand it
    """None: a directory. Of a symbolic link: what it points to."""


class TmpFiles:
    """What is in /tmp now. `FaultError` where that is too much."""

    def __init__(self, root: str = TMP) -> None:
        self._entries: list[_Entry] = []
        left = MAX_BYTES
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                status = os.lstat(path)
                left -= status.st_size if stat.S_ISREG(status.st_mode) else 0
                if left < 0 or len(self._entries) >= MAX_ENTRIES:
                    raise FaultError(
                        SNAPSHOT_ERROR,
                        f"The function's init has left more in {root} than a snapshot may have: "
                        f"{MAX_BYTES >> 20} MB in {MAX_ENTRIES} files.",
                    )
                entry = _read(path, status.st_mode)
                if entry is not None:
                    self._entries.append(entry)

    def put_back(self) -> None:
        """Write it anew."""
        for path, mode, content in self._entries:
            if content is None:
                os.mkdir(path)
            elif stat.S_ISLNK(mode):
                os.symlink(content, os.fsencode(path))
                continue
            else:
                with open(path, "wb") as file:
                    file.write(content)
            os.chmod(path, stat.S_IMODE(mode))


def _read(path: str, mode: int) -> _Entry | None:
    """None: a pipe or a socket, to which nobody listens in a fork."""
    if stat.S_ISDIR(mode):
        return _Entry(path, mode, None)
    if stat.S_ISLNK(mode):
        return _Entry(path, mode, os.fsencode(os.readlink(path)))
    if stat.S_ISREG(mode):
        with open(path, "rb") as file:
            return _Entry(path, mode, file.read(MAX_BYTES))
    return None
