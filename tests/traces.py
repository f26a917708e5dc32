"""What a server has in the system, found from outside: to see that nothing of it stays behind."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Traces:
    """Processes (pid and start time), their cgroup directories and network namespaces."""

    processes: frozenset[tuple[int, str]]
    cgroups: frozenset[Path]
    network_namespaces: frozenset[str]

    def __or__(self, other: Traces) -> Traces:
        return Traces(
            self.processes | other.processes,
            self.cgroups | other.cgroups,
            self.network_namespaces | other.network_namespaces,
        )

    def left(self) -> dict[str, list[str]]:
        """What of it is still there, by kind; empty where all is gone."""
        alive = {(pid, started) for pid, (_, started) in _table().items()}
        in_use = {_namespace(pid, "net") for pid, _ in alive}
        found = {
            "processes": sorted(f"{pid} {_command(pid)}" for pid, _ in self.processes & alive),
            "cgroups": sorted(str(path) for path in self.cgroups if path.exists()),
            "network namespaces": sorted(self.network_namespaces & in_use),
        }
        return {kind: items for kind, items in found.items() if items}


def traces_of(pid: int) -> Traces:
    """Of everything below a process, itself left out: it may share its cgroup with others."""
    table = _table()
    own_cgroups, own_namespace = _cgroups(pid), _namespace(pid, "net")
    below = _descendants(pid, table)
    return Traces(
        frozenset((child, table[child][1]) for child in below),
        frozenset(path for child in below for path in _cgroups(child) - own_cgroups),
        frozenset(_namespace(child, "net") for child in below) - {own_namespace, ""},
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


def _namespace(pid: int, kind: str) -> str:
    try:
        return str((PROC / str(pid) / "ns" / kind).readlink())
    except OSError:
        return ""


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
