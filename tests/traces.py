"""What a server has in the system, found from outside: to see that nothing of it stays behind."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TREE = re.compile(r"/samovar-([a-z0-9]+)/")
"""A server's cgroup, with its name on this machine."""


@dataclass(frozen=True)
class Traces:
    """Processes (pid and start time), their cgroup directories, and links on the host's network.

    A namespace has no trace of its own: it is gone with the last process that holds it."""

    processes: frozenset[tuple[int, str]]
    cgroups: frozenset[Path]
    links: frozenset[Path]

    def __or__(self, other: Traces) -> Traces:
        return Traces(
            self.processes | other.processes,
            self.cgroups | other.cgroups,
            self.links | other.links,
        )

    def left(self) -> dict[str, list[str]]:
        """What of it is still there, by kind; empty where all is gone."""
        alive = {(pid, started) for pid, (_, started) in _table().items()}
        found = {
            "processes": sorted(f"{pid} {_command(pid)}" for pid, _ in self.processes & alive),
            "cgroups": sorted(str(path) for path in self.cgroups if path.exists()),
            "links": sorted(str(path) for path in self.links if path.exists()),
        }
        return {kind: items for kind, items in found.items() if items}


def traces_of(pid: int) -> Traces:
    """Of everything below a process, itself left out: it may share its cgroup with others."""
    table = _table()
    below = _descendants(pid, table)
    cgroups = frozenset().union(*map(_cgroups, below)) - _cgroups(pid)
    names = {match[1] for path in cgroups if (match := TREE.search(str(path)))}
    return Traces(
        frozenset((child, table[child][1]) for child in below),
        cgroups,
        frozenset(Path("/sys/class/net", f"smv-{name}") for name in names),
    )


def mounts_naming(text: str) -> list[str]:
    """The mounts of the host whose source or target has `text` in it."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if text in line]


def _table() -> dict[int, tuple[int, str]]:
    """pid → (parent, start time)."""
    table = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    table[int(entry.name)] = (int(fields[1]), fields[19])
    return table


def _descendants(pid: int, table: dict[int, tuple[int, str]]) -> set[int]:
    found: set[int] = set()
    newest = {pid}
    while newest:
        newest = {child for child, (parent, _) in table.items() if parent in newest} - found
        found |= newest
    return found


def _cgroups(pid: int) -> set[Path]:
    """Its directories in every mounted hierarchy, the roots left out."""
    try:
        lines = (PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        folders = controllers.removeprefix("name=").split(",") if controllers else ["unified", "."]
        if path != "/":
            found |= {Path("/sys/fs/cgroup") / folder / path[1:] for folder in folders}
    return {path for path in found if path.exists()}


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
