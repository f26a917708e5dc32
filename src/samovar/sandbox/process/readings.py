"""What an instance, or all of a server's together, use of the machine: some 10 µs to find out.

Read from the cgroup's files (`meters` has them) and, where there is none, from /proc.

Clean pages of files are charged to a cgroup too, and are the kernel's to take back at any time:
they do not count as used. (What is in /tmp does: it is memory, and nowhere else.)

proc_pid_statm(5), proc_pid_stat(5).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from samovar.ports import Usage

_FILE_PAGES = (
    (b"total_inactive_file", b"total_active_file"),  # v1, with all below
    (b"inactive_file", b"active_file"),  # v2
)
_STAT_BYTES = 8192
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Readings:
    """`files`: descriptors by their names in `meters`, ours to close. What has none is found in
    /proc, of the process `pid` alone."""

    def __init__(self, files: Mapping[str, int], pid: int = 0) -> None:
        self._files = dict(files)
        self._pid = pid

    @property
    def tell_memory(self) -> bool:
        """Whether there is a file for that."""
        return "memory" in self._files

    def peak_bytes(self) -> int:
        """Raises `OSError` or `ValueError` where the process has just gone."""
        if "peak" in self._files:
            return int(os.pread(self._files["peak"], 64, 0))
        return _high_water_mark(self._pid)

    def usage(self) -> Usage:
        """Raises `OSError` or `ValueError` where the process has just gone."""
        return Usage(memory_bytes=self._memory_bytes(), cpu_s=self._cpu_s())

    def close(self) -> None:
        """Idempotent."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _memory_bytes(self) -> int:
        if "memory" not in self._files:
            return _private_bytes(self._pid)
        charged = int(os.pread(self._files["memory"], 64, 0))
        stat = os.pread(self._files["stat"], _STAT_BYTES, 0) if "stat" in self._files else b""
        return max(0, charged - _file_pages_bytes(stat))

    def _cpu_s(self) -> float:
        if "cpu" not in self._files:
            return _process_s(self._pid)
        text = os.pread(self._files["cpu"], _STAT_BYTES, 0)
        first = text.split(None, 2)
        if first[0] == b"usage_usec":
            return int(first[1]) / 1e6
        return int(first[0]) / 1e9


def _file_pages_bytes(stat: bytes) -> int:
    values = dict(line.split(b" ", 1) for line in stat.splitlines())
    names = next((names for names in _FILE_PAGES if names[0] in values), ())
    return sum(int(values[name]) for name in names)


def _high_water_mark(pid: int) -> int:
    for line in Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _private_bytes(pid: int) -> int:
    """With what it still shares with its zygote: that could not be told cheaply."""
    if not pid:
        return 0
    resident, shared = Path("/proc", str(pid), "statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * _PAGE_BYTES


def _process_s(pid: int) -> float:
    """Of the process, of those of its children who have ended, and of those who run (the runtime,
    where the first process is its bridge)."""
    if not pid:
        return 0.0
    running: list[str] = []
    with contextlib.suppress(OSError):  # a kernel without CONFIG_PROC_CHILDREN
        running = Path("/proc", str(pid), "task", str(pid), "children").read_text().split()
    ticks = 0
    for process in (str(pid), *running):
        with contextlib.suppress(OSError):  # it has just ended
            fields = Path("/proc", process, "stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS
