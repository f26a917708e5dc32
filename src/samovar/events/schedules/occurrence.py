"""A tick of a schedule as an event. Pure.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
"""

from __future__ import annotations

import datetime as dt
import json

from msgspec import structs

from samovar.model.event import Event, EventSource, function_of_arn
from samovar.model.schedule import Schedule

ATTEMPT_NUMBER = "<aws.scheduler.attempt-number>"
"""Replaced when an attempt is made, the other keywords when the event is. A function takes an event
at the first attempt, and gets the same one if it is tried again."""


def event_of(schedule: Schedule, tick: float, now: float, event_id: str) -> Event:
    """What a schedule puts into the queue of events at `now` for one of its ticks."""
    target = schedule.target
    text = _notification(schedule, tick, event_id) if target.input is None else target.input
    for keyword, value in (
        ("schedule-arn", schedule.id.arn),
        ("scheduled-time", _written(tick)),
        ("execution-id", event_id.replace("-", "")[:16]),
    ):
        text = text.replace(f"<aws.scheduler.{keyword}>", value)
    if function_of_arn(target.arn) is not None:
        text = text.replace(ATTEMPT_NUMBER, "1")
    return Event(
        id=event_id,
        queue=schedule.id.arn,
        target=target.arn,
        payload=text.encode(),
        accepted_at=now,
        due_at=now,
        source=EventSource.SCHEDULE,
        policy=target.policy,
        attributes=target.attributes,
    )


def for_attempt(event: Event) -> Event:
    """An event of a schedule as it is to be told to its target at its next attempt."""
    keyword = ATTEMPT_NUMBER.encode()
    if event.source is not EventSource.SCHEDULE or keyword not in event.payload:
        return event
    number = str(1 + event.failures + event.throttles).encode()
    return structs.replace(event, payload=event.payload.replace(keyword, number))


def _notification(schedule: Schedule, tick: float, event_id: str) -> str:
    """What a target is given that is to be given nothing in particular."""
    return json.dumps(
        {
            "version": "0",
            "id": event_id,
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": schedule.id.account,
            "time": _written(tick),
            "region": schedule.id.region,
            "resources": [schedule.id.arn],
            "detail": "{}",
        }
    )


def _written(tick: float) -> str:
    return f"{dt.datetime.fromtimestamp(tick, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
