"""What is mapped into a process's memory, as proc(5) tells of it.

The kernel writes a line for each mapping, and in names escapes "\\n" and nothing else: they are
read as bytes, of which "\\n" alone ends a line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

_MOST_LINES = 300_000
"""numpy, pandas and scipy together make some 1,500 mappings; each has up to 30 lines."""
_MAY_BE_WRITTEN_BY_ALL = b"sh"
"""VM_SHARED: not of a mapping of what was opened to be read, whoever else may have that."""


def shared(pid: int) -> str | None:
    """A mapping through which what one process writes, or only has to be there, is there for
    others too, now or after an mprotect(2): its name. Raises `OSError`."""
    nameless = _nameless_device()
    held = b""
    for line in _lines(pid):
        first, *rest = line.split(maxsplit=5)
        if not first.endswith(b":"):
            # Address, permissions, offset, device, inode, name. A file that has no name anywhere,
            # and no limit, takes memory where it had none even when it is only read.
            held = line
            if rest[2] == nameless:
                return _name(held)
        elif first == b"VmFlags:" and _MAY_BE_WRITTEN_BY_ALL in line.split():
            return _name(held)
    return None


def _name(line: bytes) -> str:
    words = line.split(maxsplit=5)
    return words[5].decode(errors="replace") if len(words) > 5 else "a mapping without a name"


def _nameless_device() -> bytes:
    """The one of memfd_create(2), shmget(2) and anonymous memory that is shared."""
    fd = os.memfd_create("")
    try:
        device = os.fstat(fd).st_dev
    finally:
        os.close(fd)
    return b"%02x:%02x" % (os.major(device), os.minor(device))


def _lines(pid: int) -> Iterator[bytes]:
    """Raises `OSError` for a process that keeps us busy with more than honest ones have."""
    with open(f"/proc/{pid}/smaps", "rb") as file:
        for number, line in enumerate(file):
            if number == _MOST_LINES:
                raise OSError(errno.E2BIG, "its memory has too many mappings")
            yield line.rstrip(b"\n")
