"""A tick of a schedule as an event. Pure.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
"""

from __future__ import annotations

import datetime as dt
import json

from msgspec import structs

from samovar.model.event import Event, EventSource, function_of_arn
from samovar.model.schedule import Schedule
from samovar.model.universal_target import PREFIX, Call, universal_call

ATTEMPT_NUMBER = "<aws.scheduler.attempt-number>"
"""Replaced when an attempt is made, the other keywords when the event is. A function takes an event
at the first attempt, and gets the same one if it is tried again."""


def event_of(schedule: Schedule, tick: float, now: float, event_id: str) -> Event:
    """What a schedule puts into the queue of events at `now` for one of its ticks."""
    call = _call(schedule, _text(schedule, tick, event_id))
    payload = call.payload
    if function_of_arn(call.target) is not None:
        payload = payload.replace(ATTEMPT_NUMBER, "1")
    return Event(
        id=event_id,
        queue=schedule.id.arn,
        target=call.target,
        payload=payload.encode(),
        accepted_at=now,
        due_at=now,
        source=EventSource.SCHEDULE,
        policy=schedule.target.policy,
        attributes=call.attributes,
    )


def for_attempt(event: Event) -> Event:
    """An event of a schedule as it is to be told to its target at its next attempt."""
    keyword = ATTEMPT_NUMBER.encode()
    if event.source is not EventSource.SCHEDULE or keyword not in event.payload:
        return event
    number = str(1 + event.failures + event.throttles).encode()
    return structs.replace(event, payload=event.payload.replace(keyword, number))


def _text(schedule: Schedule, tick: float, event_id: str) -> str:
    """The target's input with its keywords replaced."""
    text = schedule.target.input
    if text is None:
        return _notification(schedule, tick, event_id)
    for keyword, value in (
        ("schedule-arn", schedule.id.arn),
        ("scheduled-time", _written(tick)),
        ("execution-id", event_id.replace("-", "")[:16]),
    ):
        text = text.replace(f"<aws.scheduler.{keyword}>", value)
    return text


def _call(schedule: Schedule, text: str) -> Call:
    target = schedule.target
    if target.arn.startswith(PREFIX):
        place = f"{schedule.id.region}:{schedule.id.account}"
        return universal_call(target.arn, text, place)
    return Call(target.arn, text, target.attributes)


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
