"""System calls as data: a list that a process without any program of its own can be told to make.

How this works. A template's memory is a function's: nothing in it is to be trusted, and nothing of
it may run with privileges. What isolates a fork of it is a *runner*, some thirty instructions in
two mappings that nobody else has (`space_anew`): it receives a `CallList` over a
socket, and makes one call after the other.

    runner's code  │ its data: message header, failure, result, registers to go on with │ the list

Each call is nine words: its number, six arguments, where to go on after an error, and where after a
result over 0 (after 0: with the next). Addresses are absolute. The number -1 ends the list.

x86_64 only: `ptrace.NOT_HERE`.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass

from samovar.sandbox.process.holder import PAGE_BYTES, SPACE_BYTES
from samovar.sandbox.process.injection import InjectedCall
from samovar.sandbox.process.ptrace import FLOATING_BYTES, NO_CALL, Thread

_DATA, _LIST = PAGE_BYTES, 2 * PAGE_BYTES
MAX_LIST_BYTES = SPACE_BYTES - _LIST

# In the data: struct msghdr, struct iovec, what failed (address, result), the newest result.
_VECTOR, _FAILED, _RESULT, _CONTROL = 64, 96, 112, 128
_CONTROL_BYTES = 1024
_FRAME, _FLOATING = 2048, 3072

_CODE = bytes.fromhex(
    # serve: the next list, by recvmsg(3, data, 0)
    "49 c7 44 24 28 00 04 00 00"  # mov qword [r12+40], 1024 (the length of its descriptors)
    "bf 03 00 00 00"  # mov edi, 3
    "4c 89 e6"  # mov rsi, r12
    "31 d2"  # xor edx, edx
    "b8 2f 00 00 00"  # mov eax, __NR_recvmsg
    "0f 05"  # syscall
    "48 85 c0"  # test rax, rax
    "7e 53"  # jle gone
    "49 8d 9c 24 00 10 00 00"  # lea rbx, [r12+4096]
    # run: the call at rbx
    "48 8b 03"  # mov rax, [rbx]
    "48 83 f8 ff"  # cmp rax, -1
    "74 d0"  # je serve
    "48 8b 7b 08"  # mov rdi, [rbx+8]
    "48 8b 73 10"  # mov rsi, [rbx+16]
    "48 8b 53 18"  # mov rdx, [rbx+24]
    "4c 8b 53 20"  # mov r10, [rbx+32]
    "4c 8b 43 28"  # mov r8, [rbx+40]
    "4c 8b 4b 30"  # mov r9, [rbx+48]
    "0f 05"  # syscall
    "48 85 c0"  # test rax, rax
    "78 13"  # js failed
    "74 0b"  # jz next
    "49 89 44 24 70"  # mov [r12+112], rax
    "48 8b 5b 40"  # mov rbx, [rbx+64]
    "eb cb"  # jmp run
    "48 83 c3 48"  # next: add rbx, 72
    "eb c5"  # jmp run
    "49 89 5c 24 60"  # failed: mov [r12+96], rbx
    "49 89 44 24 68"  # mov [r12+104], rax
    "48 8b 5b 38"  # mov rbx, [rbx+56]
    "eb b5"  # jmp run
    "31 ff"  # gone: xor edi, edi
    "b8 e7 00 00 00"  # mov eax, __NR_exit_group
    "0f 05"  # syscall
)
_RUN_AT = 0x27
_END = -1
_MMAP = 9
_CALL = struct.Struct("=9q")
_MOST_CALLS = 160
_DATA_AT = _MOST_CALLS * _CALL.size
"""In a list: what its calls point to comes behind them."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a list, by its name."""

    name: str


NEXT = Mark("")
"""The next call."""
FAILED = Mark("failed")
"""Where a list goes on after an error, unless it says otherwise."""


class CallList:
    """A list in the making, for a runner whose space begins at `space`."""

    def __init__(self, space: int) -> None:
        self._base = space + _LIST
        self._calls: list[tuple[int, list[int], Mark, Mark]] = []
        self._data = bytearray()
        self._places: dict[str, int] = {}

    def call(
        self,
        number: int,
        *arguments: int | bytes,
        on_error: Mark = FAILED,
        on_result: Mark = NEXT,
    ) -> None:
        """Append a call; of bytes, it gets the address."""
        words = [self.put(word) if isinstance(word, bytes) else word for word in arguments]
        words += [0] * (6 - len(words))
        self._calls.append((number, words, on_error, on_result))

    def put(self, data: bytes) -> int:
        """Have `data` in the list; return its address."""
        address = self._base + _DATA_AT + len(self._data)
        self._data += data + bytes(-len(data) % 16)
        return address

    def mark(self, mark: Mark) -> None:
        """That is where the next call is."""
        self._places[mark.name] = len(self._calls)

    def end(self) -> None:
        """Append the end: the runner waits for another list."""
        self.call(_END)

    def text(self) -> bytes:
        """The list as the runner takes it. Raises `ValueError` where it is too long."""
        text = b"".join(
            _CALL.pack(
                number, *words, self._address(on_error, index), self._address(on_result, index)
            )
            for index, (number, words, on_error, on_result) in enumerate(self._calls)
        )
        text = text.ljust(_DATA_AT, b"\0") + self._data
        if len(self._calls) > _MOST_CALLS or len(text) > MAX_LIST_BYTES:
            raise ValueError(f"a list of {len(self._calls)} calls and {len(text)} bytes")
        return text

    def _address(self, mark: Mark, index: int) -> int:
        place = index + 1 if mark == NEXT else self._places.get(mark.name, len(self._calls))
        return self._base + place * _CALL.size

    def reason(self, failure: bytes) -> str:
        """Of what a runner tells as `FAILURE`: the number of the call and its error."""
        address, result = FAILURE.unpack(failure)
        index = (address - self._base) // _CALL.size
        known = 0 <= index < len(self._calls)
        number = self._calls[index][0] if known else "?"
        return f"system call {number}: {os.strerror(-result)}"


def message_header(calls: CallList, buffer_bytes: int, control_bytes: int) -> int:
    """Put a struct msghdr with room into the list; return its address."""
    vector = calls.put(struct.pack("=QQ", calls.put(bytes(buffer_bytes)), buffer_bytes))
    control = calls.put(bytes(control_bytes))
    return calls.put(struct.pack("=7Q", 0, 0, vector, 1, control, control_bytes, 0))


# ---------------------------------------------------------------- the runner


def space_anew(space: int) -> list[InjectedCall]:
    """What maps the runner's space over whatever is there, so that it is nobody else's, and no
    advice that the function has given to the kernel about it holds any more."""
    read, write, execute = 1, 2, 4
    private_fixed_anonymous = 0x2 | 0x10 | 0x20
    parts = (
        (space, PAGE_BYTES, read | execute),
        (space + PAGE_BYTES, SPACE_BYTES - PAGE_BYTES, read | write),
    )
    return [
        InjectedCall(_MMAP, (at, size, may, private_fixed_anonymous, (1 << 64) - 1, 0), at)
        for at, size, may in parts
    ]


def place_runner(memory_fd: int, space: int, thread: Thread, first: CallList) -> dict[str, int]:
    """Write the runner into its space, with what its forks go on with (rt_sigreturn) and its
    first list; return what registers to start it with. Raises `OSError`.

    `memory_fd` is /proc/PID/mem of a stopped process."""
    data_at = space + _DATA
    data = bytearray(_LIST - _DATA)
    header = (0, 0, data_at + _VECTOR, 1, data_at + _CONTROL, _CONTROL_BYTES, 0)
    struct.pack_into("=7Q", data, 0, *header)
    struct.pack_into("=QQ", data, _VECTOR, space + _LIST, MAX_LIST_BYTES)
    frame = _signal_frame(thread, data_at + _FLOATING)
    data[_FRAME : _FRAME + len(frame)] = frame
    data[_FLOATING : _FLOATING + FLOATING_BYTES] = thread.floating
    for offset, text in ((0, _CODE), (_DATA, bytes(data)), (_LIST, first.text())):
        if os.pwrite(memory_fd, text, space + offset) != len(text):
            raise OSError(errno.EFAULT, "its memory cannot be written")
    return {
        "orig_rax": NO_CALL,
        "rip": space + _RUN_AT,
        "rbx": space + _LIST,
        "r12": data_at,
        "rsp": data_at + _FRAME + _RETURN_ADDRESS_BYTES,
        "eflags": _INTERRUPTS_ON,
    }


def failure_at(space: int) -> int:
    """The address of what failed: `FAILURE`."""
    return space + _DATA + _FAILED


def result_at(space: int) -> int:
    """The address of the newest result over 0: `RESULT`."""
    return space + _DATA + _RESULT


FAILURE = struct.Struct("=Qq")
"""The address of a call, and minus its errno."""
RESULT = struct.Struct("=q")

_INTERRUPTS_ON = 0x202
_RETURN_ADDRESS_BYTES = 8
_UC_FLAGS = 0x6
"""UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS"""
_SS_DISABLE = 2
_IN_CONTEXT = (
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rsi", "rbp", "rbx"),
    *("rdx", "rax", "rcx", "rsp", "rip", "eflags"),
)


def _signal_frame(thread: Thread, floating_at: int) -> bytes:
    """What rt_sigreturn(2) goes on with: a return address, struct ucontext
    (arch/x86/include/uapi/asm/sigcontext.h)."""
    values = thread.registers
    context = struct.pack("=18Q", *(values[name] for name in _IN_CONTEXT))
    context += struct.pack("=4H", values["cs"], 0, 0, values["ss"])
    context += struct.pack("=4QQ", 0, 0, 0, 0, floating_at) + bytes(64)
    stack = struct.pack("=QiiQ", 0, _SS_DISABLE, 0, 0)
    return (
        struct.pack("=QQQ", 0, _UC_FLAGS, 0)
        + stack
        + context
        + struct.pack("=Q", thread.signal_mask)
    )
