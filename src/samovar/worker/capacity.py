"""What this machine has for us, and what is promised of it: a container may have been given less
than there is.

cgroups(7); Documentation/admin-guide/cgroup-v2.rst (memory.max, cpu.max), cgroup-v1/memory.rst,
scheduler/sched-bwc.rst (cpu.cfs_quota_us).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from samovar.capacity import UNLIMITED_VCPUS


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a worker really has, and by which ratios it promises more."""

    usable_memory_mib: int
    processors: float = 1.0
    memory_oversubscription: float = 1.0
    cpu_oversubscription: float = 0.0
    """0: processors are not counted, memory alone bounds what is promised."""
    architecture: str = "x86_64"
    zone: str = ""

    @property
    def memory_mib(self) -> int:
        """Memory that instances may be promised in all."""
        return int(self.usable_memory_mib * self.memory_oversubscription)

    @property
    def vcpus(self) -> float:
        """Likewise their vCPUs."""
        if not self.cpu_oversubscription:
            return UNLIMITED_VCPUS
        return self.processors * self.cpu_oversubscription


def machine_memory_mib(root: Path = Path("/")) -> int:
    """The machine's memory, or the least limit of the control groups that we are in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [
        int(limit)
        for directory, unified in _own_groups(root, "memory")
        for limit in _words(directory / ("memory.max" if unified else "memory.limit_in_bytes"))
        if limit.isdecimal()  # else "max"
    ]
    return min([total, *limits]) >> 20


def machine_processors(root: Path = Path("/")) -> float:
    """The processors that we may run on, or the least share of them that our control groups
    allow."""
    shares = [float(len(os.sched_getaffinity(0)))]
    for directory, unified in _own_groups(root, "cpu"):
        if unified:
            words = _words(directory / "cpu.max")
        else:
            words = _words(directory / "cpu.cfs_quota_us") + _words(directory / "cpu.cfs_period_us")
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal():  # else "max", or -1
            shares.append(int(words[0]) / int(words[1]))
    return min(shares)


def _own_groups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """The control groups that we are in, each on our way up, and whether they are of cgroup2."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controller
        else:
            continue
        own = mount / path.lstrip("/")
        for directory in (own, *own.parents):
            if directory.is_relative_to(mount):
                yield directory, not controllers


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""
