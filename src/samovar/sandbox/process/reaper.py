"""The first process of an instance's pid namespace, so that the instance is not that itself.

How this works. A pid namespace is made with its first process, and the kernel treats that one
unlike any other (pid_namespaces(7)): it shields it from signals that would end it, so an instance
in this role could neither abort nor kill itself, and gives it all orphans to bury, so what a
function leaves behind would add up in its limit on processes. Therefore the first process is a
*reaper*: it sleeps. Orphans vanish by themselves, for it ignores SIGCHLD (sigaction(2)); what ends
it ends the whole namespace: a signal of the supervisor, or the end of its *lifeline*, a pipe whose
other end only the supervisor has. The instance is forked into the namespace by its zygote, as a
child of the supervisor, who so learns from the kernel itself how it ended.

An instance can't end its reaper, which no signal from inside the namespace reaches, nor look into
it or trace it, for it has capabilities that the instance lacks. It is in no cgroup of the instance,
so a lack of memory there does not hit it.

The program is a few instructions, written out below: half a millisecond and a hundred kilobytes
less than the smallest that a Linux system brings along, for each instance. Where a file in memory
can't be executed, or we are in a user namespace (and so could not come back from a new pid
namespace), a reaper is forked off the supervisor.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
from collections import deque
from typing import NoReturn

from samovar.sandbox.process import syscalls as sys_
from samovar.sandbox.process.children import Children, End, OnEnd

_PROGRAMS = {
    "x86_64": (
        "bf 11 00 00 00"  # mov edi, SIGCHLD
        "48 8d 35 26 00 00 00"  # lea rsi, [ignore]
        "31 d2"  # xor edx, edx
        "41 ba 08 00 00 00"  # mov r10d, 8
        "b8 0d 00 00 00"  # mov eax, __NR_rt_sigaction
        "0f 05"  # syscall
        "31 ff"  # xor edi, edi
        "48 89 e6"  # mov rsi, rsp
        "ba 01 00 00 00"  # mov edx, 1
        "31 c0"  # xor eax, eax (__NR_read)
        "0f 05"  # syscall
        "31 ff"  # xor edi, edi
        "b8 e7 00 00 00"  # mov eax, __NR_exit_group
        "0f 05"  # syscall
    ),
    "aarch64": (
        "20 02 80 d2"  # mov x0, SIGCHLD
        "a1 01 00 10"  # adr x1, ignore
        "02 00 80 d2"  # mov x2, 0
        "03 01 80 d2"  # mov x3, 8
        "c8 10 80 d2"  # mov x8, __NR_rt_sigaction
        "01 00 00 d4"  # svc 0
        "00 00 80 d2"  # mov x0, 0
        "e1 03 00 91"  # mov x1, sp
        "22 00 80 d2"  # mov x2, 1
        "e8 07 80 d2"  # mov x8, __NR_read
        "01 00 00 d4"  # svc 0
        "00 00 80 d2"  # mov x0, 0
        "c8 0b 80 d2"  # mov x8, __NR_exit_group
        "01 00 00 d4"  # svc 0
    ),
}
"""Ignore SIGCHLD, read from the lifeline until it ends, end."""
_IGNORE = struct.pack("QQQQ", int(signal.SIG_IGN), 0, 0, 0)
"""struct sigaction as the kernel has it."""
_MACHINE_NUMBERS = {"x86_64": 62, "aarch64": 183}
_LOAD_ADDRESS = 0x400000

_NAME = "samovar-reaper"
_MFD_EXEC = 0x10
"""Since Linux 6.3; needed where vm.memfd_noexec is 1."""


class Reaper:
    """A pid namespace, held by its first process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.fd = os.pidfd_open(pid)
        """A pidfd: for setns, too."""
        self.on_end: OnEnd = lambda _: None
        """Called when all in the namespace has ended, and it has been reaped."""

    def kill(self) -> None:
        """End all that is in the namespace."""
        if self.fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fd, signal.SIGKILL)

    def close(self) -> None:
        """Let go of what has ended."""
        os.close(self.fd)
        self.fd = -1


class ReaperPool:
    """Makes reapers, some ahead of time. Its processes are children of the caller."""

    def __init__(self, children: Children, *, user_namespace: bool) -> None:
        self._children = children
        self._ready: deque[Reaper] = deque()
        self._home_fd = os.pidfd_open(os.getpid())
        self._lifeline_fd, self._our_end_fd = os.pipe2(os.O_CLOEXEC)
        self._program_fd = _program()
        self._must_fork = user_namespace or self._program_fd < 0

    def take(self) -> Reaper:
        """Return one that is ready, or else make it. Raises `OSError`."""
        return self._ready.popleft() if self._ready else self._make()

    def fill_one(self, count: int) -> bool:
        """Make one if fewer than `count` are ready; return whether it did. Raises `OSError`."""
        if len(self._ready) >= count:
            return False
        self._ready.append(self._make())
        return True

    def close(self) -> None:
        """Kill those that nobody has taken."""
        while self._ready:
            self._ready.popleft().kill()

    def _make(self) -> Reaper:
        pid = 0
        if not self._must_fork:
            try:
                pid = self._spawn()
            except PermissionError:
                self._must_fork = True  # vm.memfd_noexec is 2, or a security module says so
        reaper = Reaper(pid or self._fork())
        self._children.adopt(reaper.pid, lambda end: self._on_end(reaper, end))
        return reaper

    def _on_end(self, reaper: Reaper, end: End) -> None:
        with contextlib.suppress(ValueError):
            self._ready.remove(reaper)
        reaper.close()
        reaper.on_end(end)

    def _spawn(self) -> int:
        # Not by `fork`, which would copy the page tables of an interpreter.
        path = f"/proc/self/fd/{self._program_fd}"
        actions = [
            (os.POSIX_SPAWN_DUP2, self._lifeline_fd, 0),
            (os.POSIX_SPAWN_CLOSE, 1),
            (os.POSIX_SPAWN_CLOSE, 2),
        ]
        sys_.unshare(sys_.CLONE_NEWPID)
        try:
            return os.posix_spawn(path, [_NAME], {}, file_actions=actions)
        finally:
            sys_.setns(self._home_fd, sys_.CLONE_NEWPID)

    def _fork(self) -> int:
        pid = sys_.fork_child(sys_.CLONE_NEWPID)
        if pid == 0:
            _become_reaper(self._lifeline_fd, self._program_fd)
        return pid


def _become_reaper(lifeline_fd: int, program_fd: int) -> NoReturn:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        os.dup2(lifeline_fd, 0)
        with contextlib.suppress(OSError):
            os.dup2(program_fd, 1, inheritable=False)
            sys_.close_from(2)
            os.execve("/proc/self/fd/1", [_NAME], {})  # noqa: S606
        sys_.set_dumpable(False)
        sys_.close_from(1)
        os.read(0, 1)
    finally:
        os._exit(0)


def _program() -> int:
    """Return a descriptor of the program, sealed, in memory; -1 where there is no such thing."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    for more in (_MFD_EXEC, 0):
        with contextlib.suppress(OSError):
            fd = os.memfd_create(_NAME, flags | more)
            os.write(fd, _executable())
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
            program_fd = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
            os.close(fd)  # what is open for writing is not executed
            return program_fd
    return -1


def _executable() -> bytes:
    """An ELF file of one segment (elf(5)): its headers, the instructions, `ignore`."""
    machine = os.uname().machine
    text = bytes.fromhex(_PROGRAMS[machine]) + _IGNORE
    headers_bytes = 64 + 56
    entry, size = _LOAD_ADDRESS + headers_bytes, headers_bytes + len(text)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64 bits, little-endian, version 1
    sizes = (64, 56, 1, 0, 0, 0)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, _MACHINE_NUMBERS[machine], 1, entry, 64, 0, 0, *sizes
    )
    readable_executable = 5
    segment = struct.pack(
        "<IIQQQQQQ", 1, readable_executable, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 4096
    )
    return header + segment + text
