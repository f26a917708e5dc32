"""What the machine tells of itself: memory that is left, and how much waits for what it lacks.

Documentation/filesystems/proc.rst (meminfo), Documentation/accounting/psi.rst. Where a kernel has
no PSI (or a container does not show it) stalls are 0, and memory is gone by alone.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_KEPT_SHARE = 20
_MOST_KEPT_MIB = 256
"""A twentieth of the machine's memory, and so much at most, is left to whatever else runs."""
_READ_BYTES = 4096


class Gauges:
    """Keeps the files open: some 15 µs for all three. `close` it."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._memory = _open(root / "meminfo")
        self._stalls = {what: _open(root / "pressure" / what) for what in ("cpu", "memory")}

    @property
    def tells_stalls(self) -> bool:
        """Whether there is PSI here."""
        return all(_read(fd) for fd in self._stalls.values())

    def spare_mib(self) -> int | None:
        """What could still be used without the machine as a whole getting into need. None: not
        known."""
        found = dict(line.split(b":", 1) for line in _read(self._memory).splitlines())
        try:
            total, available = (
                int(found[name].split()[0]) >> 10 for name in (b"MemTotal", b"MemAvailable")
            )
        except (KeyError, ValueError):
            return None
        return max(0, available - min(_MOST_KEPT_MIB, total // _KEPT_SHARE))

    def stalled(self, what: str) -> float:
        """The share of the last ten seconds in which something waited for `cpu` or `memory`."""
        for line in _read(self._stalls[what]).splitlines():
            kind, _, rest = line.partition(b" avg10=")
            if kind == b"some":
                with contextlib.suppress(ValueError):
                    return float(rest.split()[0]) / 100
        return 0.0

    def close(self) -> None:
        """Idempotent."""
        for fd in (self._memory, *self._stalls.values()):
            if fd is not None:
                os.close(fd)
        self._memory, self._stalls = None, dict.fromkeys(self._stalls)


def _open(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return None


def _read(fd: int | None) -> bytes:
    if fd is not None:
        with contextlib.suppress(OSError):  # EOPNOTSUPP: PSI is compiled in and switched off
            return os.pread(fd, _READ_BYTES, 0)
    return b""
