"""A record: one message of a queue, one entry of a stream or a topic, as a function will get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """Made once, when it is fetched: it is counted, sent, and perhaps sent again as it is."""

    id: str
    """What `batchItemFailures` names it by: a message's id, a sequence number, an offset."""
    json: bytes
    """As it stands in the function's event."""
    seen: Mapping[str, Any] = field(default_factory=dict)
    """What filters see beside `contents`: its fields by name."""
    contents: Mapping[str, bytes | str | None] = field(default_factory=dict)
    """The fields that hold what its sender wrote (`body`, `data`, `value`, `key`), not decoded:
    to filters each is JSON or plain text."""
    shard: str = ""
    """Which part of its source it comes from."""
    key: str = ""
    """Records of one key keep their order: a partition key, a message group."""
    arrived_at: float | None = None
    """Seconds since the epoch; None: not known."""

    def filtered(self) -> Record:
        """Without what only filters look at: it may wait for long."""
        return Record(
            self.id, self.json, shard=self.shard, key=self.key, arrived_at=self.arrived_at
        )


Envelope = Callable[[Sequence[Record]], bytes]
"""Makes the function's event of a batch."""


def records_envelope(records: Sequence[Record]) -> bytes:
    """The event of queues and streams: `{"Records": […]}`."""
    return b'{"Records":[' + b",".join(record.json for record in records) + b"]}"
