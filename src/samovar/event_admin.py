"""The port for those who look after events: what waits, what is tried again, what is dead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from samovar.model.event import Event, EventState
from samovar.stores import Page


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """An event as the store has it."""

    event: Event
    """Without its payload where several are listed."""
    state: EventState
    size_bytes: int
    """Of its payload."""
    reason: str | None = None
    """Why it is dead: as in `DeadEvent`, and so is the next."""
    died_at: float | None = None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How many events a queue has."""

    queue: str
    counts: Mapping[EventState, int]
    oldest_at: float | None
    """When the oldest event that is not dead was accepted."""
    next_at: float | None
    """When the next attempt is due, of those that nobody holds."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Some of the events of one account in one region."""

    account: str
    region: str
    queue: str | None = None
    """Of this queue alone."""
    state: EventState | None = None
    ids: Sequence[str] | None = None
    """These alone; at most a thousand."""
    until: float | None = None
    """Those that had died, or else been accepted, by then."""


class EventAdmin(Protocol):
    """For those who look after events. Each method is one transaction, durable on return."""

    async def queues(
        self, among: EventFilter, *, marker: str | None, limit: int
    ) -> Page[QueueStatus]:
        """By name, those that have such events."""
        ...

    async def list(self, among: EventFilter, *, marker: str | None, limit: int) -> Page[KeptEvent]:
        """The oldest first."""
        ...

    async def get(self, among: EventFilter, id_: str) -> KeptEvent:
        """One event with its payload. Raises `PlatformError` NOT_FOUND."""
        ...

    async def busy(self, now: float) -> bool:
        """Whether anybody's event is under way, or due by now."""
        ...

    async def replay(self, among: EventFilter, now: float, limit: int) -> int:
        """Have at most so many of those that are dead tried again, as if they were accepted now.
        Returns how many. Raises TOO_MANY_REQUESTS where a queue has no room for the first."""
        ...

    async def purge(self, among: EventFilter, limit: int) -> int:
        """Forget at most so many events; return how many. One that is under way runs on, and
        nothing becomes of it: no retry, no record for a destination."""
        ...
