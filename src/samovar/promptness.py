"""A process that mostly waits gets a processor soon after it wakes up, whoever else computes.

How this works. The scheduler gives everyone a slice at a time, a few ms, and lets whoever has a
shorter one go first (EEVDF, Linux 6.12: sched_setattr(2), `sched_runtime`); nobody gets more of the
processors in all by that. The server and its supervisor do little at a time, and many wait for
them; functions have the usual slice. Older kernels ignore it.
"""

from __future__ import annotations

import ctypes
import os
import struct

SLICE_NS = 300_000

_NUMBERS = {"x86_64": (314, 315), "aarch64": (274, 275)}
"""Of sched_setattr and sched_getattr."""
_ATTRIBUTES = struct.Struct("IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period (linux/sched/types.h)."""
_RESET_ON_FORK = 1
_SCHED_OTHER = 0


def be_prompt() -> None:
    """Ask for that, for the calling thread and not for what it starts. Where it cannot be had
    nothing happens."""
    numbers = _NUMBERS.get(os.uname().machine)
    if numbers is None:
        return
    syscall = ctypes.CDLL(None).syscall
    set_attributes, get_attributes = numbers
    found = ctypes.create_string_buffer(_ATTRIBUTES.size)
    if syscall(get_attributes, 0, found, _ATTRIBUTES.size, 0) < 0:
        return
    size, policy, flags, nice, priority, _, deadline, period = _ATTRIBUTES.unpack(found.raw)
    if policy == _SCHED_OTHER:
        wanted = (policy, flags | _RESET_ON_FORK, nice, priority, SLICE_NS, deadline, period)
        syscall(set_attributes, 0, _ATTRIBUTES.pack(size, *wanted), 0)
