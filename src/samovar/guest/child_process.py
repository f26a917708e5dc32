"""A child of the bridge: how it is signalled, and how its end is learnt.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.guest.reactor import Reactor


class ChildProcess:
    """`on_end(status)` is called once, with the wait status, when it has ended."""

    def __init__(self, reactor: Reactor, pid: int, on_end: Callable[[int], None]) -> None:
        self._reactor = reactor
        self._pid = pid
        self._on_end = on_end
        self._pidfd = os.pidfd_open(pid)
        self.ended = False
        reactor.watch(self._pidfd, self._reap)

    def terminate(self) -> None:
        """Ask it to end."""
        if not self.ended:
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it, and its process group if it leads one."""
        if self.ended:
            return
        with contextlib.suppress(OSError):
            os.killpg(self._pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.kill(self._pid, signal.SIGKILL)

    def _reap(self) -> None:
        self.ended = True
        self._reactor.unwatch(self._pidfd)
        os.close(self._pidfd)
        self._on_end(os.waitpid(self._pid, 0)[1])
