"""Rows of the table of events ⇄ values of the model.

What no query selects or orders by is one JSON document in `details`: as text, made and read by
msgspec, for every event passes here several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from samovar.model.event import (
    INTERNAL_ERROR,
    DeadEvent,
    DeliveryPolicy,
    Event,
    EventSource,
)

COLUMNS = (
    "id",
    "queue",
    "target",
    "source",
    "accepted_at",
    "due_at",
    "died_at",
    "holder",
    "payload",
    "details",
)

MAX_UNREAD_CHARACTERS = 4096


class _Details(msgspec.Struct, omit_defaults=True):
    failures: int = 0
    throttles: int = 0
    trace_id: str | None = None
    tenant_id: str | None = None
    policy: DeliveryPolicy | None = None
    attributes: Mapping[str, str] = {}
    last_error: str | None = None
    reason: str | None = None
    """Of a dead event."""


TRIED = ('{"failures":', '{"throttles":')
"""How the details of an event begin that has been tried: what is not zero is written, in order."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Details)


def event_row(event: Event, holder: str | None) -> tuple[Any, ...]:
    """The columns of a living event, in the order of `COLUMNS`."""
    return (
        event.id,
        event.queue,
        event.target,
        event.source.value,
        event.accepted_at,
        event.due_at,
        None,
        holder,
        event.payload,
        details_of(event),
    )


def event_from(row: Any) -> Event:
    """The inverse of `event_row`. One that is dead was due when it died."""
    details = _decoder.decode(row.details)
    return Event(
        id=row.id,
        queue=row.queue,
        target=row.target,
        payload=bytes(row.payload),
        accepted_at=row.accepted_at,
        due_at=row.died_at if row.due_at is None else row.due_at,
        source=EventSource(row.source),
        failures=details.failures,
        throttles=details.throttles,
        trace_id=details.trace_id,
        tenant_id=details.tenant_id,
        policy=details.policy,
        attributes=details.attributes,
        last_error=details.last_error,
    )


def dead_event_from(row: Any) -> DeadEvent:
    """An event that is dead, from its row."""
    reason = _decoder.decode(row.details).reason or ""
    return DeadEvent(event=event_from(row), reason=reason, died_at=row.died_at)


def details_of(event: Event, reason: str | None = None) -> str:
    """The document of what has no column; `reason` of one that is dead."""
    details = _Details(
        failures=event.failures,
        throttles=event.throttles,
        trace_id=event.trace_id,
        tenant_id=event.tenant_id,
        policy=event.policy,
        attributes=event.attributes,
        last_error=event.last_error,
        reason=reason,
    )
    return _encoder.encode(details).decode()


def parked_columns(row: Any, error: Exception) -> Mapping[str, str]:
    """What a row that `event_from` cannot read is to have instead, for whoever looks after it: as
    much of what it had as an error message takes."""
    unread = f"It cannot be read ({error}): {row.source} {row.details}"[:MAX_UNREAD_CHARACTERS]
    details = _Details(last_error=unread, reason=INTERNAL_ERROR)
    return {"source": EventSource.INVOKE.value, "details": _encoder.encode(details).decode()}
