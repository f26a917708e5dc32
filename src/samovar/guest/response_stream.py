"""A streamed response on its way to the worker: HEAD, then PARTs as the bytes come.

Runs inside instances: standard library only, Python 3.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samovar.guest.wire import HEAD, MAX_PART_BYTES, PART

if TYPE_CHECKING:
    from samovar.guest.reactor import Callback
    from samovar.guest.worker_link import WorkerLink


MAX_CONTENT_TYPE_CHARS = 8 * 1024
"""A longer one is left out, as nobody can read it: clients refuse such headers."""


class ResponseStream:
    """Bytes for the client of the function. Whoever has them stops while not `has_room`; how the
    stream ends is said to `Phases`, with `answer` or `fail`.

    What is written goes out with `flush`, or as a part is full: many small pieces that came at once
    are one part, and none waits for more to come."""

    def __init__(self, link: WorkerLink, content_type: str | None) -> None:
        self._link = link
        self._unsent = bytearray()
        self.written_bytes = 0
        told = content_type is not None and len(content_type) <= MAX_CONTENT_TYPE_CHARS
        link.send(HEAD, {"content_type": content_type} if told else None)

    @property
    def has_room(self) -> bool:
        """Whether whoever reads the stream keeps up."""
        return self._link.has_room

    def when_room(self, callback: Callback) -> None:
        """Call once, as soon as there is room again; at once if there is."""
        self._link.when_room(callback)

    def write(self, data: bytes | bytearray) -> None:
        """Add to the stream."""
        self.written_bytes += len(data)
        self._unsent += data
        while len(self._unsent) >= MAX_PART_BYTES:
            self._link.send(PART, None, self._unsent[:MAX_PART_BYTES])
            del self._unsent[:MAX_PART_BYTES]

    def flush(self) -> None:
        """Send what has been written."""
        if self._unsent:
            self._link.send(PART, None, bytes(self._unsent))
            self._unsent.clear()
