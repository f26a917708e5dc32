"""What waits to be sent to one telemetry subscriber: bounded, and honest about what was dropped.

How this works. Records gather in a batch until it is full or old enough; the owner then takes it
and sends it. While it is under way the next batch gathers, and what no longer fits into that is
dropped and counted. So a subscriber costs at most two batches of memory.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import NamedTuple


class Batch(NamedTuple):
    """What has gathered, the oldest first, and what had to be dropped meanwhile."""

    records: list[bytes]
    dropped_records: int
    dropped_bytes: int


class TelemetryBuffer:
    """See the module. A record that is larger than `max_bytes` makes a batch of its own."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._records: list[bytes] = []
        self._bytes = 0
        self._dropped_records = 0
        self._dropped_bytes = 0

    @property
    def full(self) -> bool:
        """Whether it should be sent at once."""
        return len(self._records) >= self._max_items or self._bytes >= self._max_bytes

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not self._records and not self._dropped_records

    def add(self, record: bytes) -> None:
        """Keep a record, or drop it where there is no room."""
        if self.fits(record):
            self._records.append(record)
            self._bytes += len(record)
        else:
            self._count_dropped([record])

    def count_lost(self, batch: Batch) -> None:
        """It has not arrived: say so in the next one, and what it would have said of those before
        it."""
        self._dropped_records += batch.dropped_records
        self._dropped_bytes += batch.dropped_bytes
        self._count_dropped(batch.records)

    def _count_dropped(self, records: list[bytes]) -> None:
        self._dropped_records += len(records)
        self._dropped_bytes += sum(map(len, records))

    def take(self) -> Batch:
        """Return all that there is; begin anew."""
        batch = Batch(self._records, self._dropped_records, self._dropped_bytes)
        self._records = []
        self._bytes = self._dropped_records = self._dropped_bytes = 0
        return batch

    def fits(self, record: bytes) -> bool:
        """Whether there is room for it."""
        if not self._records:
            return True
        return not self.full and self._bytes + len(record) <= self._max_bytes
