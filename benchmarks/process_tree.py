"""What the processes of a server do, as /proc tells: who they are, how busy, how big."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

_QUIET_S = 0.05
_POLL_S = 0.01
_LIMIT_S = 30.0


def descendants(pid: int) -> list[int]:
    """The processes below `pid`, oldest first."""
    children = _children()
    found: list[int] = []
    waiting = list(children[pid])
    while waiting:
        child = waiting.pop()
        found.append(child)
        waiting += children[child]
    return sorted(found, key=_started)


def command_line(pid: int) -> str:
    """Its arguments, separated by spaces; empty when it is gone."""
    return _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def stdout_of(pid: int) -> str:
    """`pipe:[…]`, `/dev/null`, …; empty when it is gone or not ours to see."""
    return _target(Path(f"/proc/{pid}/fd/1"))


def open_files(pid: int) -> set[str]:
    """What it holds, written as in `stdout_of`."""
    with contextlib.suppress(OSError):
        return {_target(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return set()


def pid_namespace(pid: int) -> str:
    """`pid:[…]`; empty when it is gone or not ours to see."""
    return _target(Path(f"/proc/{pid}/ns/pid"))


def pss_bytes(pid: int) -> int:
    """Proportional set size: shared pages count in parts. 0 when it is gone."""
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def wait_until_quiet(pid: int, settled: Callable[[], bool] = lambda: True) -> bool:
    """Wait till `pid` and all below it have not run for a moment, and `settled` says so too.

    False when that did not happen in time."""
    deadline = time.monotonic() + _LIMIT_S
    since, last = time.monotonic(), -1
    while time.monotonic() < deadline:
        busy_ns = _busy_ns([pid, *descendants(pid)])
        if busy_ns != last:
            since, last = time.monotonic(), busy_ns
        elif time.monotonic() - since >= _QUIET_S and settled():
            return True
        time.sleep(_POLL_S)
    return False


def _children() -> defaultdict[int, list[int]]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    names = [path.name for path in Path("/proc").iterdir()]
    for name in names:
        if name.isdigit() and (fields := _stat(int(name))):
            children[int(fields[1])].append(int(name))
    return children


def _started(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _stat(pid: int) -> list[bytes]:
    """From the state on: the name before it may hold anything."""
    return _read(pid, "stat").rpartition(b")")[2].split()


def _busy_ns(pids: Iterable[int]) -> int:
    """Time on a processor, of all together; and how many there are, so that a change of that
    counts too."""
    total = 0
    for pid in pids:
        fields = _read(pid, "schedstat").split()
        total += int(fields[0]) + 1 if fields else 0
    return total


def _target(link: Path) -> str:
    with contextlib.suppress(OSError):
        return str(link.readlink())
    return ""


def _read(pid: int, file: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{file}").read_bytes()
    return b""
