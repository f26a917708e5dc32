"""System calls that a traced process makes for us, wherever its program would have gone on.

How this works. The process is held in a call of its own (`template`: in the clone that made its
instance). It is let go to the end of that call, then to the instruction that had made it, which
begins another one; where that enters the kernel the process is held again, and gets the number and
the arguments that we want, in the registers that the kernel has saved.

What it would execute may be hostile: the function may have written something else in the place of
that instruction. So nothing counts on it. Whatever runs there can do nothing but compute, as the
process stops at the entry of each call that it makes, and that becomes ours or, if it has not come
by the 64-bit way in, the end. The registers that it goes on with are those that it had before any
of this. One that makes no call is killed by who waits for us (`template._expire`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from samovar.sandbox.process import ptrace


class InjectedCall(NamedTuple):
    """A call, and what it is to return."""

    number: int
    arguments: tuple[int, int, int, int, int, int]
    result: int


class Injection:
    """Calls that one process is to make."""

    def __init__(
        self, pid: int, calls: Iterable[InjectedCall], done: Callable[[str | None], None]
    ) -> None:
        """`done` is called, with why not or with None, while the process is stopped."""
        self._pid = pid
        self._calls = deque(calls)
        self._done = done
        self._at_entry = False
        """Whether the call of the line's head has been entered."""
        self.registers: dict[str, int] = {}
        """Of the process, before it was made to do anything."""

    def begin(self) -> None:
        """Let the process, which is held in a call, go to the end of that. Raises `OSError`."""
        ptrace.block_signals(self._pid)
        self.registers = ptrace.registers(self._pid)
        ptrace.run_to_call(self._pid)

    def on_stop(self, status: int) -> None:
        """See `Children.trace`."""
        try:
            over = self._step(ptrace.is_entry(self._pid, status))
        except OSError as error:
            self._done(str(error))
        else:
            if over:
                self._done(None)

    def _step(self, is_entry: bool) -> bool:
        """Return whether all have been made. Raises `OSError`."""
        if is_entry:
            self._at_entry = True
            call = self._calls[0]
            names = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
            wanted = dict(zip(names, call.arguments, strict=True)) | {"orig_rax": call.number}
            ptrace.set_registers(self._pid, self.registers | wanted)
        else:
            if (
                self._at_entry
                and ptrace.registers(self._pid)["rax"] != self._calls.popleft().result
            ):
                raise OSError("the platform's memory in it cannot be made anew")
            self._at_entry = False
            if not self._calls:
                return True
            again = {"rip": self.registers["rip"] - ptrace.SYSCALL_BYTES}
            ptrace.set_registers(self._pid, self.registers | again | {"orig_rax": ptrace.NO_CALL})
        ptrace.run_to_call(self._pid)
        return False
