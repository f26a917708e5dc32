"""What is mapped into a process's memory, as proc(5) tells of it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import NamedTuple

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (....) \S+ \S+ (\d+) *(.*)")
_MOST = 10_000
"""numpy, pandas and scipy together make some 1,500."""


class _Mapping(NamedTuple):
    first: int
    past: int
    permissions: str
    inode: int
    name: str


def are_private(pid: int, first: int, past: int) -> bool:
    """Whether all from `first` up to `past` is memory of its own. Raises `OSError`."""
    at = first
    for mapping in _mappings(pid):
        if mapping.first <= at < min(mapping.past, past):
            if mapping.permissions[3] != "p" or mapping.inode:
                return False
            at = mapping.past
    return at >= past


def shared(pid: int) -> str | None:
    """A mapping that it can write to and others see: its name. Raises `OSError`."""
    for mapping in _mappings(pid):
        if mapping.permissions[3] == "s" and mapping.permissions[1] == "w":
            return mapping.name or "a mapping without a name"
    return None


def _mappings(pid: int) -> Iterator[_Mapping]:
    """Raises `OSError` for a process that keeps us busy with more than honest ones have."""
    with open(f"/proc/{pid}/maps", errors="replace") as file:
        for number, line in enumerate(file):
            if number == _MOST:
                raise OSError(errno.E2BIG, f"its memory has more than {_MOST} mappings")
            if found := _MAPPING.match(line):
                first, past, permissions, inode, name = found.groups()
                yield _Mapping(int(first, 16), int(past, 16), permissions, int(inode), name.strip())
