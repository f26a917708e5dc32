"""The first process of an instance's pid namespace, so that the instance is not that itself.

How this works. A pid namespace is made with its first process, and the kernel treats that one
unlike any other (pid_namespaces(7)): it shields it from signals that would end it, so an instance
in this role could neither abort nor kill itself, and gives it all orphans to bury, so what a
function leaves behind would add up in its limit on processes. Therefore the first process is a
*reaper*: it sleeps. Orphans vanish by themselves, for it ignores SIGCHLD (sigaction(2)); whatever
ends it ends the whole namespace. The instance is forked into the namespace next (`enter`), as a
child of the supervisor, who so learns from the kernel itself how it ended.

A reaper is not dumpable, has more capabilities than the instance, and is deaf to signals from
inside its namespace: the instance can't look into it, trace it or end it. It is in no cgroup of
the instance, so a lack of memory there does not hit it. It executes none of anybody's code.

Runs in zygotes: Python 3.9, standard library only.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from samovar.sandbox.process import syscalls as sys_

if TYPE_CHECKING:
    from typing import NoReturn


class Reaper:
    """A new pid namespace, held open by its first process. Raises `OSError`."""

    pid: int

    def __init__(self, lifeline_fd: int, *, sibling: bool = True) -> None:
        """It ends when its parent does: the caller's parent, if it is a `sibling`.

        `lifeline_fd` hangs up when that has happened already."""
        self.pid, self._pidfd = sys_.fork_bare(sys_.CLONE_NEWPID, sibling=sibling)
        if self.pid == 0:
            _sleep(lifeline_fd)

    def enter(self) -> None:
        """Have what the caller forks from now on be in the namespace."""
        sys_.setns(self._pidfd, sys_.CLONE_NEWPID)

    def kill(self) -> None:
        """End the namespace."""
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Let go of it. It sleeps on."""
        os.close(self._pidfd)


def return_home() -> None:
    """Have what the caller forks from now on be in the caller's own pid namespace again."""
    own_fd = os.pidfd_open(os.getpid())
    sys_.setns(own_fd, sys_.CLONE_NEWPID)
    os.close(own_fd)


def _sleep(lifeline_fd: int) -> NoReturn:
    try:
        sys_.die_with_parent(signal.SIGKILL)
        if not sys_.hung_up(lifeline_fd):
            sys_.set_dumpable(False)
            for number in (signal.SIGCHLD, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            sys_.close_from(0)
            while True:
                signal.pause()
    finally:
        os._exit(0)
