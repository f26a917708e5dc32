"""How a process ended, in the words of Go's os.ProcessState, which AWS prints.

Runs inside instances too: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
import signal

SIGNAL_WORDS: dict[int, str] = {
    signal.SIGHUP: "hangup",
    signal.SIGINT: "interrupt",
    signal.SIGQUIT: "quit",
    signal.SIGILL: "illegal instruction",
    signal.SIGTRAP: "trace/breakpoint trap",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGKILL: "killed",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGPIPE: "broken pipe",
    signal.SIGALRM: "alarm clock",
    signal.SIGTERM: "terminated",
    signal.SIGSYS: "bad system call",
}


def signal_words(number: int) -> str:
    """`signal: killed`, say."""
    return f"signal: {SIGNAL_WORDS.get(number, f'signal {number}')}"


def end_of_runtime(status: int) -> str:
    """Of a wait status: `Runtime exited with error: exit status 3`, say."""
    if status == 0:
        return "Runtime exited without providing a reason"
    return f"Runtime exited with error: {end_of_extension(status)}"


def end_of_extension(status: int) -> str:
    """Of a wait status: `exit code 0`, `exit status 3`, `signal: killed`."""
    if os.WIFSIGNALED(status):
        return signal_words(os.WTERMSIG(status))
    code = os.WEXITSTATUS(status)
    return f"exit status {code}" if code else "exit code 0"
