"""Holding a child still, and reading what it would go on with: the few requests of ptrace(2) that a
template needs.

How this works. A child is *seized*; from then on its stops are told to us by `wait4`, as ends are.
One that is held can't run a single instruction, and is killed with us (PTRACE_O_EXITKILL). Only
x86_64 is known here: `NOT_HERE` says why not, elsewhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import sys
from dataclasses import dataclass

_CONT, _DETACH, _SYSCALL = 7, 17, 24
_GETEVENTMSG, _GETREGSET, _SETREGSET = 0x4201, 0x4204, 0x4205
_SEIZE, _INTERRUPT = 0x4206, 0x4207
_GETSIGMASK, _SETSIGMASK = 0x420A, 0x420B
_GET_SYSCALL_INFO, _GET_RSEQ_CONFIGURATION = 0x420E, 0x420F
_O_TRACESYSGOOD, _O_TRACECLONE, _O_EXITKILL = 0x1, 0x8, 0x100000
_CALL_STOP = signal.SIGTRAP | 0x80
_ENTRY, _EXIT = 1, 2
_AUDIT_ARCH_X86_64 = 0xC000003E
_EVENT_CLONE = 3
_NT_PRSTATUS, _NT_PRFPREG = 1, 2

_NAMES = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx"),
    *("rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base"),
    *("ds", "es", "fs", "gs"),
)
_REGISTERS = struct.Struct(f"={len(_NAMES)}Q")
FLOATING_BYTES = 512
"""What FXSAVE stores."""

_RESTARTED = {-512, -513, -514}
"""ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND: a call that a stop has broken into begins anew."""
SYSCALL_BYTES = 2
"""Of the instruction."""
NO_CALL = 0xFFFFFFFFFFFFFFFF
"""In orig_rax."""

NOT_HERE = (
    None
    if os.uname().machine == "x86_64" and sys.maxsize > 1 << 32
    else f"snapshots are made on x86_64 only, and this machine is {os.uname().machine}"
)

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


@dataclass(frozen=True, slots=True)
class Thread:
    """All that a thread would go on with, but its memory."""

    registers: dict[str, int]
    floating: bytes
    signal_mask: int


def _ptrace(request: int, pid: int, address: int | None = None, data: object = None) -> int:
    result: int = _libc.ptrace(request, pid, address, data)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request:#x}: {os.strerror(number)}")
    return result


def seize(pid: int, *, hold_at_clone: bool = False) -> None:
    """Be told of a child's stops. With `hold_at_clone`, it stops where it makes another process,
    which begins stopped, and is killed when we end. Raises `OSError`."""
    options = _O_TRACESYSGOOD | _O_TRACECLONE | _O_EXITKILL
    _ptrace(_SEIZE, pid, 0, options if hold_at_clone else 0)


def interrupt(pid: int) -> None:
    """Have it stop. Raises `OSError`."""
    _ptrace(_INTERRUPT, pid)


def resume(pid: int) -> None:
    """Let a stopped one run on, seized as it is; what signal it stopped for is forgotten. Raises
    `OSError`."""
    _ptrace(_CONT, pid)


def release(pid: int) -> None:
    """Let a stopped one run, and be nobody's. Raises `OSError`."""
    _ptrace(_DETACH, pid)


def run_to_call(pid: int) -> None:
    """Let a stopped one run to the end of the call that it is in, or to the entry of its next one,
    where it stops. Raises `OSError`."""
    _ptrace(_SYSCALL, pid)


def is_entry(pid: int, status: int) -> bool:
    """Whether one that has stopped with this status is at the entry of a 64-bit call; False: it is
    at the end of a call. Raises `OSError` for all else that it may have stopped for."""
    information = ctypes.create_string_buffer(88)
    if status >> 8 == _CALL_STOP:
        size = ctypes.sizeof(information)
        _ptrace(_GET_SYSCALL_INFO, pid, size, ctypes.addressof(information))  # since Linux 5.3
    kind, architecture = struct.unpack_from("=BxxxI", information)
    if kind not in (_ENTRY, _EXIT) or architecture != _AUDIT_ARCH_X86_64:
        raise OSError(errno.EPROTO, "the function has changed how its memory would go on")
    return bool(kind == _ENTRY)


def is_clone_stop(status: int) -> bool:
    """Whether a status of `wait4` says that it has stopped in a clone(2) of its own."""
    return status >> 16 == _EVENT_CLONE


def cloned(pid: int) -> int:
    """The process that it has just made. Raises `OSError`."""
    number = ctypes.c_ulong(0)
    _ptrace(_GETEVENTMSG, pid, 0, ctypes.addressof(number))
    return number.value


def has_rseq(pid: int) -> bool:
    """Whether the kernel would look into its memory for a restartable sequence (rseq(2)), and so
    might have it jump to where that says."""
    configuration = ctypes.create_string_buffer(24)
    try:
        size = ctypes.sizeof(configuration)
        _ptrace(_GET_RSEQ_CONFIGURATION, pid, size, ctypes.addressof(configuration))
    except OSError:  # before Linux 5.13; then `holder` is believed
        return False
    return bool(struct.unpack_from("=Q", configuration)[0])


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _get_set(pid: int, kind: int, size: int) -> bytes:
    buffer = ctypes.create_string_buffer(size)
    vector = _Vector(ctypes.addressof(buffer), size)
    _ptrace(_GETREGSET, pid, kind, ctypes.addressof(vector))
    return buffer.raw


def registers(pid: int) -> dict[str, int]:
    """Of a stopped one. Raises `OSError`."""
    values = _REGISTERS.unpack(_get_set(pid, _NT_PRSTATUS, _REGISTERS.size))
    return dict(zip(_NAMES, values, strict=True))


def set_registers(pid: int, values: dict[str, int]) -> None:
    """Of a stopped one. Raises `OSError`."""
    block = _REGISTERS.pack(*(values[name] for name in _NAMES))
    buffer = ctypes.create_string_buffer(block, len(block))
    vector = _Vector(ctypes.addressof(buffer), len(block))
    _ptrace(_SETREGSET, pid, _NT_PRSTATUS, ctypes.addressof(vector))


def block_signals(pid: int) -> None:
    """Have no handler run in a stopped one, whatever comes. Raises `OSError`."""
    mask = ctypes.c_uint64(0xFFFFFFFFFFFFFFFF)
    _ptrace(_SETSIGMASK, pid, 8, ctypes.addressof(mask))


def thread(pid: int) -> Thread:
    """What a stopped one would go on with: a call that the stop has broken into, once more. Raises
    `OSError`."""
    values = registers(pid)
    result = values["rax"] - (1 << 64) if values["rax"] >> 63 else values["rax"]
    if values["orig_rax"] != NO_CALL and result in _RESTARTED:
        values["rax"] = values["orig_rax"]
        values["rip"] -= SYSCALL_BYTES
    values["orig_rax"] = NO_CALL
    mask = ctypes.c_uint64(0)
    _ptrace(_GETSIGMASK, pid, 8, ctypes.addressof(mask))
    return Thread(values, _get_set(pid, _NT_PRFPREG, FLOATING_BYTES), mask.value)


def try_out() -> None:
    """Hold a child of this process. Raises `OSError` where that is not allowed."""
    if NOT_HERE:
        raise OSError(errno.ENOSYS, NOT_HERE)
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        seize(pid, hold_at_clone=True)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
