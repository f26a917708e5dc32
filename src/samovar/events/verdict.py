"""What becomes of an event after an attempt. Pure: the dispatcher performs it.

AWS's rules (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html): an
error of the function is retried after one minute and then after two; a throttle or an error of the
system after one second, doubling up to five minutes, for as long as the event is young enough.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import structs

from samovar.model.event import DeadEvent, Event
from samovar.ports import Verdict

__all__ = ["Verdict"]  # what is handed on

FUNCTION_RETRIES_S = (60.0, 120.0)
"""Waits before the second and the third attempt at a function that fails."""

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 300.0

DEFAULT_MAX_AGE_S = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What applies to the events of a function version or alias, when they come to an end."""

    max_retries: int = 2
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


Attempt = Succeeded | Failed | NotBegun


def verdict(event: Event, attempt: Attempt, rules: Rules, now: float) -> Verdict:
    """What becomes of `event` after `attempt`, at `now`."""
    match attempt:
        case Succeeded():
            return Verdict()
        case Failed():
            failures = event.failures + 1
            again = structs.replace(event, failures=failures, last_error=attempt.error)
            if failures > rules.max_retries:
                return Verdict(dead=DeadEvent(event=again, reason="RetriesExhausted", died_at=now))
            wait_s = FUNCTION_RETRIES_S[min(failures, len(FUNCTION_RETRIES_S)) - 1]
        case NotBegun():
            throttles = event.throttles + 1
            again = structs.replace(event, throttles=throttles, last_error=attempt.message)
            if attempt.lasting:
                return Verdict(dead=DeadEvent(event=again, reason=attempt.message, died_at=now))
            wait_s = min(FIRST_BACK_OFF_S * 2 ** min(event.throttles, 16), LONGEST_BACK_OFF_S)
    due_at = now + wait_s
    if due_at - event.accepted_at > rules.max_age_s:
        return Verdict(dead=DeadEvent(event=again, reason="EventAgeExceeded", died_at=now))
    return Verdict(again=structs.replace(again, due_at=due_at))
