"""The telemetry of an instance, and who is sent it.

How this works. What happens is published here, as the records of AWS's schema; each subscriber has
a buffer of its own, and a delivery that is under way or not. Until init is over, what has been
published is kept as well, for who subscribes late: the first event comes before any extension runs.

https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html
Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from samovar.guest import telemetry_events as events
from samovar.guest.telemetry_buffer import TelemetryBuffer
from samovar.guest.telemetry_delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.guest.reactor import Reactor, Timer
    from samovar.guest.telemetry_events import Record
    from samovar.guest.telemetry_subscription import Subscription

_MAX_PAST_EVENTS = 1_000
_MAX_PAST_BYTES = 256 * 1024


class _Subscriber:
    """One subscription at work."""

    def __init__(
        self,
        reactor: Reactor,
        subscription: Subscription,
        on_sent: Callable[[], None],
        had: int = 0,
    ) -> None:
        self._reactor = reactor
        self._on_sent = on_sent
        self.subscription = subscription
        self._buffer = TelemetryBuffer(subscription.max_items, subscription.max_bytes)
        self._delivery = Delivery(reactor, subscription)
        self._timer: Timer | None = None
        self._sending = False
        self._due = False
        self._closed = False
        self._seen = self.had = had
        """So many events, from the first, have come; so many of them have arrived, if wanted."""

    def add(self, kind: str, record: Record, when: str, encoded: bytes) -> None:
        """Send an event if it is of a type that was asked for. `encoded` is the whole of it."""
        wanted = self._as_wanted(kind, record, when, encoded)
        if wanted is not None and not self._buffer.fits(wanted):
            self.flush()
        self._seen += 1
        if wanted is None:
            return
        self._buffer.add(wanted)
        if self._buffer.full:
            self.flush()
        elif self._timer is None:
            self._timer = self._reactor.later(self.subscription.timeout_ms / 1e3, self.flush)

    def _as_wanted(self, kind: str, record: Record, when: str, encoded: bytes) -> bytes | None:
        if kind.partition(".")[0] not in self.subscription.types:
            return None
        if not self.subscription.is_logs_api:
            return None if kind in events.OF_LOGS_API_ALONE else encoded
        other = events.for_logs_api(kind, record, self.subscription.schema_version)
        return events.encode(*other, when) if other else None

    def close(self) -> None:
        """It has subscribed anew: send nothing more."""
        if self._timer:
            self._timer.cancel()
        self._closed = True
        self._buffer.take()
        self._delivery.close()

    @property
    def drained(self) -> bool:
        """Whether there is nothing left to send, nor under way."""
        return not self._sending and self._buffer.empty

    def flush(self) -> None:
        """Send what there is: now, or when what is under way has arrived."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._sending:
            self._due = True
        elif not self._buffer.empty:
            self._send()

    def _send(self) -> None:
        batch, seen = self._buffer.take(), self._seen
        records = batch.records.copy()
        if batch.dropped_records:
            dropped = events.logs_dropped(batch.dropped_records, batch.dropped_bytes)
            now = events.iso_time(time.time())
            records.append(events.encode("platform.logsDropped", dropped, now))

        def done(arrived: bool) -> None:
            if self._closed:
                return
            self._sending = False
            if arrived:
                self.had = seen
            else:
                self._buffer.count_lost(batch)
            if self._due or self._buffer.full:
                self._due = False
                self.flush()
            self._on_sent()

        self._sending = True
        self._delivery.send(records, done)


class Telemetry:
    """See the module."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._subscribers: dict[str, _Subscriber] = {}
        self._past: list[tuple[str, Record, str, bytes]] = []
        self._past_bytes = 0
        self._when_drained: Callable[[], None] | None = None
        self.open = True
        """Whether there may be more subscribers."""

    def subscribe(self, name: str, subscription: Subscription) -> None:
        """From now on send to an extension, in place of what it had asked for before; and first,
        what there has been so far and has not reached it."""
        had = 0
        if name in self._subscribers:
            before = self._subscribers.pop(name)
            before.close()
            had = before.had
        subscriber = self._subscribers[name] = _Subscriber(
            self._reactor, subscription, self._look_for_drained, had
        )
        for event in self._past[had:]:
            subscriber.add(*event)
        self.publish(
            "platform.telemetrySubscription", events.subscription(name, subscription.types)
        )

    def close(self) -> None:
        """Init is over: who has not subscribed by now will not."""
        self.open = False
        self._past.clear()

    @property
    def active(self) -> bool:
        """Whether anybody listens, or may come to."""
        return self.open or bool(self._subscribers)

    def publish(self, kind: str, record: Record) -> None:
        """Tell who wants to know."""
        if not self.active:
            return
        when = events.iso_time(time.time())
        encoded = events.encode(kind, record, when)
        for subscriber in self._subscribers.values():
            subscriber.add(kind, record, when, encoded)
        if self.open and self._has_room_for(encoded):
            self._past.append((kind, record, when, encoded))
            self._past_bytes += len(encoded)

    def flush(self, when_drained: Callable[[], None]) -> None:
        """Send now what would be sent later; call back when all of it has arrived, or is lost."""
        self._when_drained = when_drained
        for subscriber in self._subscribers.values():
            subscriber.flush()
        self._look_for_drained()

    def _look_for_drained(self) -> None:
        if self._when_drained and all(s.drained for s in self._subscribers.values()):
            when_drained, self._when_drained = self._when_drained, None
            when_drained()

    def _has_room_for(self, encoded: bytes) -> bool:
        return (
            len(self._past) < _MAX_PAST_EVENTS
            and self._past_bytes + len(encoded) <= _MAX_PAST_BYTES
        )
