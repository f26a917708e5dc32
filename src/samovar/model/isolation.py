"""What separates an instance from the host and from other instances.

Isolation is a set of *layers*. A platform says which it has, and why it lacks the others; it
never downgrades silently (invariant 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Layer(StrEnum):
    """One independent barrier."""

    MOUNTS = "mounts"
    """Own mount namespace: minimal read-only root, code read-only, private sized /tmp."""
    PROCESSES = "processes"
    """Own pid, ipc and uts namespaces."""
    NETWORK = "network"
    """Own network namespace: no host loopback, no platform ports, no other instances."""
    EGRESS = "egress"
    """The way out to the internet from that namespace."""
    USER = "user"
    """An unprivileged uid of the instance's own."""
    CAPABILITIES = "capabilities"
    """No capabilities, and no way to gain any (no_new_privs)."""
    SECCOMP = "seccomp"
    """A filter on system calls."""
    LANDLOCK = "landlock"
    """Kernel rules on files, signals and abstract sockets, as a second line."""
    MEMORY = "memory"
    """A hard limit on the memory of the instance as a whole (cgroup)."""
    CPU = "cpu"
    """CPU share that follows memory (cgroup)."""
    PIDS = "pids"
    """A limit on processes and threads (cgroup)."""


DRIVERS = ("none", "process", "microvm")
"""Each separates more than the one before it."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """The isolation in force on one machine."""

    driver: str
    """`process`, `none`, `fake` (later `microvm`)."""
    layers: frozenset[Layer]
    missing: Mapping[Layer, str] = field(default_factory=dict)
    """Layer → why this machine lacks it."""

    def meets(self, floor: str) -> bool:
        """Whether it is at least what a driver of that name gives, with none of its layers missing
        (empty: anything is)."""
        if not floor:
            return True
        if floor not in DRIVERS or self.driver not in DRIVERS or self.missing:
            return False
        return DRIVERS.index(self.driver) >= DRIVERS.index(floor)
