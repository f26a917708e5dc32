"""Processes that an instance leaves behind, where neither a pid namespace nor a cgroup holds them.

How this works. An instance leads a session, so what it starts is found by session id; the id can't
be another's while the session has members. What makes a session of its own (a daemon) becomes a
child of the supervisor when its parent dies, and is found among those. This is for honest code:
hostile code needs a pid namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


def kill(session: int, others: set[int]) -> int:
    """Kill a session's processes and `others`; return how many there were, zombies excepted.

    Session 0 is nobody's: a cell that never was has it, and so has whatever on the machine leads no
    session in sight of us."""
    count = 0
    for pid, state, _, its_session in _processes():
        of_session = session > 0 and its_session == session
        if state != "Z" and (of_session or pid in others):
            count += 1
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
    return count


def children() -> set[int]:
    """Return the children of this process."""
    return {pid for pid, _, parent, _ in _processes() if parent == os.getpid()}


def _processes() -> Iterator[tuple[int, str, int, int]]:
    """pid, state, parent, session of every process in sight."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything: what counts comes after the last one.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            yield int(entry.name), fields[0], int(fields[1]), int(fields[3])
