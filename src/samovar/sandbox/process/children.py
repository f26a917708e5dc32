"""The supervisor's children: who they are, how they end, and the one place that signals them.

How this works. A pid is a number that the kernel gives away again as soon as its process has been
reaped, so a signal to a remembered pid may hit a stranger, of anybody on the machine. Here a
signal goes to a pid only if the kernel confirms at that moment that it is a child of this process
(waitid with WNOWAIT); nobody else reaps our children and this process has one thread, so it still
is when the signal arrives.

Zygotes fork siblings (`syscalls.fork_into`), so a child may die before anybody has told what it
is. The end of such a *stranger* is kept while the owner's word may still be under way.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class End:
    """How a child ended."""

    code: int
    """Of `os._exit`, or minus the signal."""
    peak_memory_bytes: int
    """The most that was resident of it, or of a child of its own."""


OnEnd = Callable[[End], None]
OnStop = Callable[[int], None]
"""Gets the status that `wait4` gave."""


class Children:
    """See the module."""

    def __init__(self) -> None:
        self._known: dict[int, OnEnd] = {}
        self._strangers: dict[int, End] = {}
        self._traced: dict[int, OnStop] = {}
        self._stopped: dict[int, int] = {}

    def adopt(self, pid: int, on_end: OnEnd) -> None:
        """Have `on_end` called when it has ended; at once, if it has. It must be a child of ours;
        if it is not, it counts as killed."""
        if _is_child(pid):  # what has this number among the strangers was an earlier one
            self._strangers.pop(pid, None)
            self._known[pid] = on_end
        else:
            on_end(self._strangers.pop(pid, END_UNKNOWN))

    def trace(self, pid: int, on_stop: OnStop) -> None:
        """Have `on_stop` called when a child that is traced (ptrace(2)) stops; at once, if it has
        stopped and nobody was told."""
        self._traced[pid] = on_stop
        if pid in self._stopped:
            on_stop(self._stopped.pop(pid))

    def reap(self) -> None:
        """Take note of all that have ended."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if _is_stop(status):
                self._on_stop(pid, status)
                continue
            self._traced.pop(pid, None)
            self._stopped.pop(pid, None)
            end = End(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)
            on_end = self._known.pop(pid, None)
            if on_end:
                on_end(end)
            else:
                self._strangers[pid] = end

    def _on_stop(self, pid: int, status: int) -> None:
        on_stop = self._traced.get(pid)
        if on_stop:
            on_stop(status)
        else:
            self._stopped[pid] = status

    def forget_strangers(self) -> None:
        """No word is under way about any child that has ended: the rest were others' orphans."""
        self._strangers.clear()

    @staticmethod
    def none_left() -> bool:
        """Whether this process has no children at all, known or not, alive or not."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return True
        return False

    @property
    def known(self) -> frozenset[int]:
        """The adopted ones that have not been reaped."""
        return frozenset(self._known)


def kill(pid: int) -> None:
    """SIGKILL to a child of ours; nothing happens where `pid` is not one."""
    if _is_child(pid):
        os.kill(pid, signal.SIGKILL)


END_UNKNOWN = End(-signal.SIGKILL, 0)
"""Of a process that was none of ours, or of which nobody knows."""


def _is_stop(status: int) -> bool:
    """`os.WIFSTOPPED`, but for what ptrace(2) adds to a status."""
    return status & 0xFF == 0x7F


def _is_child(pid: int) -> bool:
    if pid <= 1:  # 0 would be a whole process group
        return False
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
