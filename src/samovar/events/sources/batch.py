"""Gathers records into batches: as many as BatchSize, as large as a payload may be, for as long as
the window. Pure: whoever fetches says what time it is.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html#invocation-eventsourcemapping-batching
"""

from __future__ import annotations

from collections.abc import Collection

from samovar.events.sources.record import Record
from samovar.model.event_source import EventSourceMapping
from samovar.model.invocation import MAX_PAYLOAD_BYTES

ENVELOPE_BYTES = 4096
"""Kept for what stands around the records; more is for those with long names to keep."""

MAX_RECORD_BYTES = MAX_PAYLOAD_BYTES - ENVELOPE_BYTES
"""A larger record fits into no event."""


class Batcher:
    """The batch that is being gathered, and those that are full."""

    def __init__(
        self, size: int, window_s: float, max_bytes: int = MAX_PAYLOAD_BYTES - ENVELOPE_BYTES
    ) -> None:
        self._size = size
        self._window_s = window_s
        self._max_bytes = max_bytes
        self._records: list[Record] = []
        self._bytes = 0
        self._full: list[list[Record]] = []
        self.due_at: float | None = None
        """When the window of the batch that is being gathered closes; None: it has no records."""

    @classmethod
    def of(cls, mapping: EventSourceMapping, default_window_s: float = 0.0) -> Batcher:
        """As a mapping asks for."""
        window_s = default_window_s if mapping.window_s is None else mapping.window_s
        return cls(mapping.batch_size, window_s)

    def add(self, record: Record, now: float) -> None:
        """Add a record. One that is too large for any payload is a batch of its own: delivering it
        fails, as it must."""
        size = len(record.json) + 1  # the comma
        if self._records and self._bytes + size > self._max_bytes:
            self._close()
        if not self._records:
            self.due_at = now + self._window_s
        self._records.append(record)
        self._bytes += size
        if len(self._records) >= self._size or self._bytes >= self._max_bytes:
            self._close()

    def take(self, now: float) -> list[Record] | None:
        """The next batch that is full, or whose window has closed."""
        if not self._full and self.due_at is not None and now >= self.due_at:
            self._close()
        return self._full.pop(0) if self._full else None

    def rest(self) -> list[Record]:
        """Everything that was not taken, out of the batcher."""
        self._close()
        rest = [record for batch in self._full for record in batch]
        self._full.clear()
        return rest

    def without(self, keys: Collection[str]) -> list[Record]:
        """Take out the records of these keys that were not taken, and return them."""
        batches = [*self._full, self._records]
        out = [record for batch in batches for record in batch if record.key in keys]
        self._full = [kept for batch in self._full if (kept := _without(batch, keys))]
        self._records = _without(self._records, keys)
        self._bytes = sum(len(record.json) + 1 for record in self._records)
        if not self._records:
            self.due_at = None
        return out

    @property
    def wanted(self) -> int:
        """How many more records the batch takes; 0: there is a full one to take first."""
        return 0 if self._full else self._size - len(self._records)

    def _close(self) -> None:
        if self._records:
            self._full.append(self._records)
        self._records, self._bytes, self.due_at = [], 0, None


def _without(records: list[Record], keys: Collection[str]) -> list[Record]:
    return [record for record in records if record.key not in keys]
