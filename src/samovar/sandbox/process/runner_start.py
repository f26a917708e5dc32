"""How a holder, when its instance has ended, becomes a runner (`call_list`).

Nobody can change its memory any more, so this is when to look at it. Where the runner goes is
mapped anew, over whatever the function has put there: what the kernel tells of mappings decides
only what is refused, never where code with privileges is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from samovar.sandbox.process import isolating, mappings, ptrace
from samovar.sandbox.process.call_list import place_runner, space_anew
from samovar.sandbox.process.children import Children
from samovar.sandbox.process.injection import Injection


class RunnerStart:
    """Of one holder."""

    def __init__(
        self,
        pid: int,
        space: int,
        forge_fd: int,
        thread: ptrace.Thread,
        refuse: Callable[[str], None],
    ) -> None:
        """`forge_fd` is the holder's number for its socket, `thread` what forks go on with;
        `refuse` is called with why it can't be."""
        self._pid = pid
        self._space = space
        self._forge_fd = forge_fd
        self._thread = thread
        self._refuse = refuse
        self._injection = Injection(pid, space_anew(space), self._run)

    def begin(self, known: Children) -> None:
        """Raises `OSError`."""
        if shared := mappings.shared(self._pid):
            raise OSError(f"the function holds memory that is shared between processes: {shared}")
        known.trace(self._pid, self._injection.on_stop)
        self._injection.begin()

    def _run(self, failure: str | None) -> None:
        if failure:
            return self._refuse(failure)
        try:
            first = isolating.settle(self._space, self._forge_fd)
            memory_fd = os.open(f"/proc/{self._pid}/mem", os.O_RDWR | os.O_CLOEXEC)
            try:
                registers = place_runner(memory_fd, self._space, self._thread, first)
            finally:
                os.close(memory_fd)
            ptrace.set_registers(self._pid, self._injection.registers | registers)
            ptrace.release(self._pid)
        except OSError as error:
            return self._refuse(str(error))
