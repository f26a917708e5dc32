"""Processes that an instance leaves behind, where neither a pid namespace nor a cgroup holds them.

How this works. An instance leads a session, so what it starts is found by session id. What makes a
session of its own (a daemon) becomes a child of the supervisor when its parent dies, and is found
among those. This is for honest code: hostile code needs a pid namespace.

Numbers of processes and sessions are given away again, and session 0 is that of half a machine. So
a signal goes only to what is below the supervisor in the tree of processes (it adopts orphans, so
everything that an instance has started is), and that is looked at once more when a pidfd holds
the process: the number can then be nobody else's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class _Process:
    state: str
    parent: int
    session: int


def kill(session: int, others: set[int]) -> int:
    """Kill those of a session and of `others` that are below this process; return how many there
    were, zombies excepted."""
    table = _table()
    count = 0
    for pid in _below(os.getpid(), table):
        process = table[pid]
        of_session = session > 0 and process.session == session
        if process.state != "Z" and (of_session or pid in others):
            count += 1
            _kill(pid, process.session)
    return count


def children() -> set[int]:
    """Return the children of this process."""
    return {pid for pid, process in _table().items() if process.parent == os.getpid()}


def _kill(pid: int, session: int) -> None:
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            table = _table()
            if pid in _below(os.getpid(), table) and table[pid].session == session:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _below(root: int, table: Mapping[int, _Process]) -> set[int]:
    """All descendants of a process."""
    found: set[int] = set()
    newest = {root}
    while newest:
        newest = {pid for pid, process in table.items() if process.parent in newest} - found
        found |= newest
    return found - {root}


def _table() -> dict[int, _Process]:
    """Every process in sight."""
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The name, in parentheses, may hold anything: what counts comes after the last one.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                table[int(entry.name)] = _Process(fields[0], int(fields[1]), int(fields[3]))
    return table
