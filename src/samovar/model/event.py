"""An event: something that was accepted and has to reach its target, through any crash.

An event has one *target*, an ARN. A function's is invoked; anything else (a queue, a topic, a bus,
a bucket) is sent to. What becomes of an event may be told to another target (a destination, a
dead-letter queue): that message is an event again, kept in the very transaction that ends the first
one, so that nothing is lost in between.

    queued ──▶ running ──▶ (gone)
                │   ▲
                ▼   │
              retrying          running ──▶ dead ──▶ queued (replayed) or (gone: purged)

An event is *queued* until it is taken for the first time, *running* while somebody holds it,
*retrying* while it waits for its next attempt, and *dead* when it has failed for good and its owner
has named no place for such events: the platform keeps it then.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from samovar.model.function import FunctionId

MAX_EVENT_BYTES = 1024 * 1024
"""AWS's 1 MB: the payload of an asynchronous invocation.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

INTERNAL_ERROR = "InternalError"
"""Why an event is dead that an error of the platform keeps from its target."""


class EventState(StrEnum):
    """See the module's picture; `EVENT_MOVES` is the transition table. It is not stored: it follows
    from who holds an event, whether it has been tried, and whether it has died."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    DEAD = "dead"
    GONE = "gone"


EVENT_MOVES: Mapping[EventState, frozenset[EventState]] = {
    EventState.QUEUED: frozenset({EventState.RUNNING, EventState.GONE}),
    # Back to queued: its holder has died, or stops before the attempt began.
    EventState.RUNNING: frozenset(
        {EventState.GONE, EventState.RETRYING, EventState.DEAD, EventState.QUEUED}
    ),
    EventState.RETRYING: frozenset({EventState.RUNNING, EventState.GONE}),
    EventState.DEAD: frozenset({EventState.QUEUED, EventState.GONE}),
    EventState.GONE: frozenset(),
}


class EventSource(StrEnum):
    """Where an event comes from."""

    INVOKE = "invoke"
    """A client: Invoke with InvocationType Event, InvokeAsync."""
    DESTINATION = "destination"
    """What became of another event: a destination's record, a dead letter."""
    MAPPING = "mapping"
    """An event source mapping, which tells its on-failure destination."""
    SCHEDULE = "schedule"


class DeliveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how long to try, for events that bring that with them (schedules do). Those
    without one go by their function's configuration, or by the platform's rules for sending."""

    max_attempts: int
    """All in all, the first one included."""
    max_age_s: float
    dead_letter_arn: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. Times are seconds since the epoch, of the platform's clock (`clock.Clock`)."""

    id: str
    """The request id that its sender was told; it stays the same over all attempts."""
    queue: str
    """Whose bounds it counts against, and whose turn it waits for: the ARN (unqualified) of the
    function that it is for or that it came from, or of a schedule."""
    target: str
    """An ARN; a function's with the qualifier, if any, that was asked for."""
    payload: bytes
    accepted_at: float
    due_at: float
    """Not before this time is it tried (again)."""
    source: EventSource = EventSource.INVOKE
    failures: int = 0
    """Attempts that ended with an error of the function, or were refused by the target."""
    throttles: int = 0
    """Attempts that could not begin: throttles and errors of the system."""
    trace_id: str | None = None
    tenant_id: str | None = None
    policy: DeliveryPolicy | None = None
    attributes: Mapping[str, str] = {}
    """What a target takes beside the payload: a queue's message attributes, a message group, …"""
    last_error: str | None = None
    """What went wrong at the last attempt, in short."""


class DeadEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the platform keeps because it failed for good."""

    event: Event
    reason: str
    """`RetriesExhausted`, `EventAgeExceeded`, …: as a destination's record has it."""
    died_at: float


def function_of_arn(arn: str) -> tuple[FunctionId, str | None] | None:
    """The function and the qualifier that an ARN names; None where it is not a function's."""
    parts = arn.split(":")
    if len(parts) not in (7, 8) or parts[2] != "lambda" or parts[5] != "function":
        return None
    return FunctionId(parts[4], parts[3], parts[6]), parts[7] if len(parts) == 8 else None
