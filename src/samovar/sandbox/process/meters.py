"""The files in which the kernel tells what a cgroup uses, opened for whoever is to read them.

The supervisor opens them and hands the descriptors to the server, which has no way to them by name
and reads them as often as it likes (`readings`).

    peak     the most memory so far, in bytes: memory.max_usage_in_bytes, memory.peak
    memory   what is charged now, in bytes: memory.usage_in_bytes, memory.current
    stat     what that consists of: memory.stat
    cpu      processor time: cpuacct.usage in ns, or cpu.stat with its usage_usec

Documentation/admin-guide/cgroup-v1/{memory,cpuacct}.rst, cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from samovar.model.isolation import Layer

_NAMES: Mapping[Layer, Mapping[int, Mapping[str, str]]] = {
    Layer.MEMORY: {
        1: {
            "peak": "memory.max_usage_in_bytes",
            "memory": "memory.usage_in_bytes",
            "stat": "memory.stat",
        },
        2: {"peak": "memory.peak", "memory": "memory.current", "stat": "memory.stat"},
    },
    Layer.CPU: {1: {"cpu": "cpuacct.usage"}, 2: {"cpu": "cpu.stat"}},
}


def meter_files(places: Mapping[Layer, tuple[int, str]]) -> dict[str, int]:
    """Open what a cgroup has of them. `places`: version and directory, by layer. The descriptors
    are the caller's."""
    opened: dict[str, int] = {}
    for layer, (version, directory) in places.items():
        for meter, name in _NAMES.get(layer, {}).get(version, {}).items():
            with contextlib.suppress(OSError):  # memory.peak is of Linux 5.19; cpuacct elsewhere
                opened[meter] = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    return opened
