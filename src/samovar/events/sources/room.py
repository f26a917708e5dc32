"""Memory for what all pollers together have fetched and not dealt with."""

from __future__ import annotations

MAX_BYTES = 256 * 1024 * 1024


class Room:
    """Counts bytes. Where it is full, a poller fetches only when it has nothing left: all of them
    go on, in small steps, and none waits for another one that is stuck."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether to fetch no more than has to be."""
        return self._used_bytes >= self._max_bytes

    def take(self, size_bytes: int) -> None:
        """So much was fetched."""
        self._used_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """So much was dealt with."""
        self._used_bytes -= size_bytes
