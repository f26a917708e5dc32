"""What becomes of an event after an attempt. Pure: the dispatcher performs it.

AWS's rules (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html): an
error of the function is retried after one minute and then after two; a throttle or an error of the
system after one second, doubling up to five minutes, for as long as the event is young enough. What
fails for good goes to the function's on-failure destination and to its dead-letter queue, to both
where there are both; where there is neither, it is kept.

An event that brings a policy of its own (a schedule's) goes by that until its target has taken it.
A function takes it as an asynchronous invocation, at once, unless there is no such function: its
throttles and errors are the function's affair, as on AWS. What is sent to other targets
than functions has no destinations: it is tried for as long as its age allows, then kept.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from msgspec import structs

from samovar.events.records import (
    Answer,
    dead_letter_attributes,
    destination_attributes,
    destination_record,
    error_message_in,
    schedule_letter_attributes,
)
from samovar.model import lineage
from samovar.model.event import DeadEvent, DeliveryPolicy, Event, EventSource, function_of_arn
from samovar.model.invocation import new_trace_id
from samovar.ports import Verdict

FUNCTION_RETRIES_S = (60.0, 120.0)
"""Waits before the second and the third attempt at a function that fails."""

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 300.0

MAX_ERROR_CHARACTERS = 1024

DEFAULT_MAX_RETRIES = 2
DEFAULT_MAX_AGE_S = 6 * 3600.0

SUCCESS = "Success"
RETRIES_EXHAUSTED = "RetriesExhausted"
EVENT_AGE_EXCEEDED = "EventAgeExceeded"
ZERO_RESERVED_CONCURRENCY = "ZeroReservedConcurrency"
RECURSIVE_INVOCATION = "RecursiveInvocation"
"""Conditions: how an event came to its end, as a record says it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What applies to the events of a function version or alias, when they come to an end."""

    max_retries: int = DEFAULT_MAX_RETRIES
    max_age_s: float = DEFAULT_MAX_AGE_S
    on_success_arn: str | None = None
    on_failure_arn: str | None = None
    dead_letter_arn: str | None = None


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The target has taken the event; a function has answered."""

    payload: bytes = b""
    version: str | None = None
    """Of the function, that ran."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The function has failed (`payload` is its error document, `error` the kind)."""

    payload: bytes
    error: str = "Unhandled"
    version: str | None = None


@dataclass(frozen=True, slots=True)
class NotBegun:
    """A throttle, an error of the system, a target that does not answer. `lasting`: trying again
    is no use."""

    message: str
    lasting: bool = False
    condition: str = RETRIES_EXHAUSTED
    """Of one that is lasting."""
    status: int | None = None
    """As Invoke would have answered; None: it would not have been asked."""


Attempt = Succeeded | Failed | NotBegun


def verdict(event: Event, attempt: Attempt, rules: Rules, now: float) -> Verdict:
    """What becomes of `event` after `attempt`, at `now`."""
    match attempt:
        case Succeeded():
            return _end(event, attempt, rules, SUCCESS, now)
        case Failed():
            failures = event.failures + 1
            error = _in_short(error_message_in(attempt.payload, attempt.error))
            again = structs.replace(event, failures=failures, last_error=error)
            if failures > rules.max_retries:
                return _end(again, attempt, rules, RETRIES_EXHAUSTED, now)
            wait_s = FUNCTION_RETRIES_S[min(failures, len(FUNCTION_RETRIES_S)) - 1]
        case NotBegun():
            throttles = event.throttles + 1
            error = _in_short(attempt.message)
            again = structs.replace(event, throttles=throttles, last_error=error)
            if attempt.lasting:
                return _end(again, attempt, rules, attempt.condition, now)
            policy = _policy_of(again)
            if policy is not None and throttles >= policy.max_attempts:
                return _end(again, attempt, rules, RETRIES_EXHAUSTED, now)
            too_old_at = event.accepted_at + _max_age_s(event, rules)
            if now >= too_old_at:
                return _end(again, attempt, rules, EVENT_AGE_EXCEEDED, now)
            due_at = min(now + _back_off_s(event), too_old_at)  # it is tried until then
            return Verdict(again=structs.replace(again, due_at=due_at))
    due_at = now + wait_s
    if due_at - event.accepted_at > _max_age_s(again, rules):
        return _end(again, attempt, rules, EVENT_AGE_EXCEEDED, now)
    return Verdict(again=structs.replace(again, due_at=due_at))


def postponed(event: Event, why: str, now: float) -> Verdict:
    """What becomes of an event whose rules cannot be found out now: nothing, but that it waits.
    Without them nobody knows where its end is to be told."""
    error, due_at = _in_short(why), now + _back_off_s(event)
    waiting = structs.replace(event, throttles=event.throttles + 1, last_error=error, due_at=due_at)
    return Verdict(again=waiting)


def _back_off_s(event: Event) -> float:
    return min(FIRST_BACK_OFF_S * float(1 << min(event.throttles, 16)), LONGEST_BACK_OFF_S)


def aged_out(event: Event, rules: Rules, now: float) -> NotBegun | None:
    """In place of an attempt, for an event that has waited too long for its turn; None: it has
    not. What is sent (a record, a dead letter) is tried once at least: a server that was down for
    hours has some to tell."""
    to_function = function_of_arn(event.target) is not None
    if now - event.accepted_at <= _max_age_s(event, rules):
        return None
    if not to_function and not event.throttles:
        return None
    waited = event.last_error or "The event has waited for longer than it may."
    return NotBegun(waited, lasting=True, condition=EVENT_AGE_EXCEEDED)


# ---------------------------------------------------------------- the end of an event


def _end(event: Event, attempt: Attempt, rules: Rules, condition: str, now: float) -> Verdict:
    if condition == SUCCESS:
        return Verdict(follow_ups=_told(event, attempt, rules.on_success_arn, condition, now))
    policy = event.policy if _was_refused(event, attempt, condition) else _policy_of(event)
    if policy is not None and policy.dead_letter_arn is not None:
        attributes = schedule_letter_attributes(event, condition, event.last_error or condition)
        letter = _follow_up(event, policy.dead_letter_arn, event.payload, attributes, now)
        return Verdict(follow_ups=(letter,))
    told = (
        *_told(event, attempt, rules.on_failure_arn, condition, now),
        *_dead_letter(event, attempt, rules.dead_letter_arn, now),
    )
    if told:
        return Verdict(follow_ups=told)
    return Verdict(dead=DeadEvent(event=event, reason=condition, died_at=now))


def _policy_of(event: Event) -> DeliveryPolicy | None:
    """The policy that an event goes by: what is for a function goes by the function's rules."""
    return None if function_of_arn(event.target) is not None else event.policy


def _was_refused(event: Event, attempt: Attempt, condition: str) -> bool:
    """Whether Invoke would not even have taken the event: there is no such function."""
    refused = isinstance(attempt, NotBegun) and attempt.lasting and condition == RETRIES_EXHAUSTED
    return refused and not event.failures


def _in_short(error: str) -> str:
    """As an event keeps it, whatever a target has made up: it need not even be Unicode."""
    return error[:MAX_ERROR_CHARACTERS].encode(errors="replace").decode()


def _max_age_s(event: Event, rules: Rules) -> float:
    policy = _policy_of(event)
    return rules.max_age_s if policy is None else policy.max_age_s


def _told(
    event: Event, attempt: Attempt, destination: str | None, condition: str, now: float
) -> tuple[Event, ...]:
    """The record for a destination, if there is one and the event was a function's."""
    if destination is None or function_of_arn(event.target) is None:
        return ()
    refused_to_run = isinstance(attempt, NotBegun) and function_of_arn(destination) is not None
    if refused_to_run and _chain(event, now)[1] >= lineage.MAX_ROUNDS:
        return ()  # functions that tell each other of what has not run would do so without end
    success = condition == SUCCESS
    invoked = event.failures + success
    record = destination_record(event, condition, invoked, _answer(attempt), destination, now)
    attributes = destination_attributes(event, destination, success=success)
    return (_follow_up(event, destination, record, attributes, now),)


def _dead_letter(
    event: Event, attempt: Attempt, queue: str | None, now: float
) -> tuple[Event, ...]:
    """The event itself, for a function's dead-letter queue, if there is one."""
    if queue is None or function_of_arn(event.target) is None:
        return ()
    attributes = dead_letter_attributes(event, _answer(attempt), event.last_error or "")
    return (_follow_up(event, queue, event.payload, attributes, now),)


def _answer(attempt: Attempt) -> Answer | None:
    match attempt:
        case Succeeded():
            return Answer(200, attempt.version, None, attempt.payload)
        case Failed():
            return Answer(200, attempt.version, attempt.error, attempt.payload)
        case NotBegun():
            return None if attempt.status is None else Answer(attempt.status)


def _follow_up(
    event: Event, target: str, payload: bytes, attributes: dict[str, str], now: float
) -> Event:
    """An event that tells `target`, at `now`, of the end of another one. One that was replayed and
    ends again is told of again, under another id."""
    to_function = function_of_arn(target)
    name = f"{event.id} {now} {target} {len(payload)} {attributes}"
    return Event(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        queue=event.queue if to_function is None else to_function[0].arn,
        target=target,
        payload=payload,
        accepted_at=now,
        due_at=now,
        source=EventSource.DESTINATION,
        trace_id=_chain(event, now)[0],
        attributes=attributes,
    )


def _chain(event: Event, now: float) -> tuple[str, int]:
    """The trace header of what an event causes, and how often its chain has come through its
    function before."""
    trace_id, named = event.trace_id or new_trace_id(event.id, now), function_of_arn(event.target)
    return (trace_id, 0) if named is None else lineage.enter(trace_id, named[0])
