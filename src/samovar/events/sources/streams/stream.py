"""What Kinesis and DynamoDB Streams have in common: shards, iterators, records in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from samovar.events.sources.record import Record

MAX_PAGES = 100
"""Of shards: at most a thousand on each, thousands in all."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Part of a stream, in which records have an order."""

    id: str
    parents: frozenset[str] = frozenset()
    """Those that it took over from."""
    closed: bool = False
    """It gets no more records."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where in a shard to begin, or to go on. Saved as a mapping of JSON; see `to_json`."""

    after: str | None = None
    """Behind this sequence number."""
    since: float | None = None
    """With the records of this time, in seconds since the epoch."""
    latest: bool = False
    """With what comes from now on; never saved."""
    done: bool = False
    """Nothing is left to read. With none of these: with the oldest record."""

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {"after": self.after, "since": self.since, "done": self.done}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Position:
        """The inverse."""
        return cls(after=kept["after"], since=kept["since"], done=kept["done"])


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one request has brought."""

    records: Sequence[Record]
    iterator: str | None
    """To go on with; None: the shard has come to its end."""


class Stream(Protocol):
    """A stream at its service. All of it raises `SourceError`."""

    identity: str
    """Differs for a stream that was made anew under the same name. Valid after `shards`."""
    retention_s: float
    """How long it keeps records."""
    begins_at_times: bool
    """Whether it honours `Position.since`. Where not, it begins with the oldest record."""
    idle_s: float
    """Between two requests to a shard that had nothing new."""
    details_name: str
    """Of the part of a destination's record that tells of it."""

    async def shards(self) -> Sequence[Shard]:
        """Those that there are, closed ones included."""
        ...

    async def iterator(self, shard: str, position: Position) -> str:
        """What reading begins with."""
        ...

    async def fetch(self, shard: str, iterator: str, limit: int) -> Fetched:
        """The next records, in order. Code `ExpiredIteratorException`: it takes a new one."""
        ...
