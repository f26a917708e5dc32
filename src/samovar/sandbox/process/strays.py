"""Processes that an instance leaves behind, where neither a pid namespace nor a cgroup holds them.

How this works. Every process inherits its parent's resource limits, and one of them,
RLIMIT_LOCKS, has had no effect since Linux 2.4: it is an instance's *mark*, a number that no other
instance has. The supervisor adopts orphans, so all that an instance has started is below it in the
tree of processes, and what of that bears the mark is the instance's. This is for honest code:
hostile code needs a pid namespace.

Numbers of processes are given away again. So both are looked at once more when a pidfd holds the
process: the number can then be nobody else's, and no signal goes to what is not ours.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Mapping

RLIMIT_LOCKS = 10
"""asm-generic/resource.h; Python has no name for it."""


def kill(mark: int) -> int:
    """Kill the processes below this one that bear a mark; return how many there were, zombies
    excepted."""
    count = 0
    for pid, alive in _below(os.getpid(), _table()).items():
        if alive and _mark(pid) == mark:
            count += 1
            _kill(pid, mark)
    return count


def children() -> set[int]:
    """Return the children of this process."""
    own_pid = os.getpid()
    return {pid for pid, (parent, _) in _table().items() if parent == own_pid}


def _kill(pid: int, mark: int) -> None:
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if pid in _below(os.getpid(), _table()) and _mark(pid) == mark:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _mark(pid: int) -> int:
    try:
        return resource.prlimit(pid, RLIMIT_LOCKS)[1]
    except OSError:
        return resource.RLIM_INFINITY  # it has just gone


_Table = Mapping[int, tuple[int, bool]]
"""pid → its parent, and whether it is alive (no zombie)."""


def _below(root: int, table: _Table) -> dict[int, bool]:
    """All descendants of a process, and whether they are alive."""
    found: dict[int, bool] = {}
    newest = {root}
    while newest:
        newest = {pid for pid, (parent, _) in table.items() if parent in newest} - found.keys()
        found |= {pid: table[pid][1] for pid in newest}
    return found


def _table() -> _Table:
    """Every process in sight."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # The name, in parentheses, may hold anything: what counts comes after the last one.
                fields = file.read().rpartition(b")")[2].split()
                table[int(name)] = int(fields[1]), fields[0] != b"Z"
    return table
