"""How much memory this machine has for us: a container may have been given less than there is.

cgroups(7); Documentation/admin-guide/cgroup-v2.rst (memory.max), cgroup-v1/memory.rst.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def machine_memory_mib(root: Path = Path("/")) -> int:
    """The machine's memory, or the least limit of the control groups that we are in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_limits(root)]) >> 20


def _limits(root: Path) -> list[int]:
    """Every limit on our way up; none where there is no control group to see."""
    limits = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        own = mount / path.lstrip("/")
        for directory in (own, *own.parents):
            if directory.is_relative_to(mount):
                limit = _text(directory / name).strip()  # or "max"
                limits += [int(limit)] if limit.isdecimal() else []
    return limits


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""
