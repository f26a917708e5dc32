"""What becomes of an event after an attempt: AWS's documented waits, ages and ends."""

from __future__ import annotations

import json

import pytest
from msgspec import structs

from samovar.events.verdict import (
    Attempt,
    Failed,
    NotBegun,
    Rules,
    Succeeded,
    Verdict,
    aged_out,
    postponed,
    verdict,
)
from samovar.model import lineage
from samovar.model.event import DeliveryPolicy, Event, EventSource

T = 1_000_000.0
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
OTHER = "arn:aws:lambda:us-east-1:000000000000:function:g"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
LETTERS = "arn:aws:sqs:us-east-1:000000000000:letters"
SCHEDULE = "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s"
BROKEN = Failed(b'{"errorMessage": "no", "errorType": "E"}', "Unhandled", "$LATEST")
THROTTLED = NotBegun("Rate Exceeded.", status=429)
EVENT = Event(id="e", queue=FUNCTION, target=FUNCTION, payload=b"{}", accepted_at=T, due_at=T)


def follow(event: Event, attempts: list[Attempt], rules: Rules) -> tuple[list[float], Verdict]:
    """The waits between attempts, each of which takes no time, and the last verdict."""
    waits, now = [], event.due_at
    for attempt in attempts:
        reached = verdict(event, attempt, rules, now)
        if reached.again is None:
            return waits, reached
        waits.append(reached.again.due_at - now)
        event, now = reached.again, reached.again.due_at
    return waits, reached


@pytest.mark.parametrize(
    ("retries", "waits"), [(2, [60.0, 120.0]), (1, [60.0]), (0, [])], ids=["2", "1", "none"]
)
def test_a_function_that_fails_is_tried_again_after_one_minute_and_then_two(retries, waits):
    seen, end = follow(EVENT, [BROKEN] * 9, Rules(max_retries=retries))
    assert seen == waits
    assert end.dead is not None
    assert end.dead.reason == "RetriesExhausted"
    assert end.dead.event.failures == retries + 1
    assert end.dead.event.last_error == "no"


@pytest.mark.parametrize("rules", [Rules(), Rules(max_retries=0)])
@pytest.mark.parametrize("make", [NotBegun, lambda text: Failed(error_document(text))])
def test_an_error_is_kept_in_short_whatever_it_is_made_of(make, rules):
    reached = verdict(EVENT, make("\ud800" + "é" * 2000), rules, T)
    kept = reached.again or reached.dead.event
    assert kept.last_error == "?" + "é" * 1023


def error_document(text):
    return json.dumps({"errorType": "E", "errorMessage": text.replace("\ud800", "?")}).encode()


def test_throttles_back_off_from_a_second_to_five_minutes_until_the_event_is_too_old():
    waits, end = follow(EVENT, [THROTTLED] * 1000, Rules(max_age_s=3600))
    assert waits[:11] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert sum(waits) == 3600  # the last attempt is made when the time is up, and not before
    assert end.dead is not None
    assert end.dead.reason == "EventAgeExceeded"


def test_throttles_do_not_use_up_the_retries_of_a_function_that_fails():
    waits, end = follow(EVENT, [THROTTLED, BROKEN, THROTTLED, BROKEN, BROKEN], Rules())
    assert waits == [1, 60, 2, 120]
    assert end.dead is not None
    assert end.dead.reason == "RetriesExhausted"


def test_a_retry_that_would_come_too_late_is_not_made():
    waits, end = follow(EVENT, [BROKEN, BROKEN], Rules(max_age_s=100))
    assert waits == [60]
    assert end.dead is not None
    assert end.dead.reason == "EventAgeExceeded"


def test_an_event_that_waited_too_long_for_its_turn_is_not_tried():
    assert aged_out(EVENT, Rules(max_age_s=60), T + 60) is None
    rules = Rules(max_age_s=60, on_failure_arn=QUEUE)
    late = aged_out(EVENT, rules, T + 60.1)
    assert late is not None
    record = json.loads(verdict(EVENT, late, rules, T + 60.1).follow_ups[0].payload)
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert "responseContext" not in record


def test_what_is_sent_is_tried_once_however_old_it_is():
    record = structs.replace(EVENT, target=QUEUE, source=EventSource.DESTINATION)
    assert aged_out(record, Rules(max_age_s=60), T + 9e6) is None
    failed = verdict(record, THROTTLED, Rules(max_age_s=60), T + 9e6)
    assert failed.dead is not None
    assert aged_out(failed.dead.event, Rules(max_age_s=60), T + 9e6) is not None


def test_without_rules_there_is_no_end():
    event, now = EVENT, T + 9e6
    for wait_s in (1, 2, 4):
        waiting = postponed(event, "the database is busy", now)
        assert waiting.again is not None
        assert waiting.again.due_at == now + wait_s
        event, now = waiting.again, now + wait_s
    assert event.last_error == "the database is busy"


@pytest.mark.parametrize("condition", ["RecursiveInvocation", "ZeroReservedConcurrency"])
def test_functions_do_not_tell_each_other_for_ever_of_what_has_not_run(condition):
    refused = NotBegun("no", lasting=True, condition=condition)
    event, told = EVENT, 0
    while (end := verdict(event, refused, Rules(on_failure_arn=other_of(event)), T)).follow_ups:
        (event,) = end.follow_ups
        told += 1
        assert told <= 2 * lineage.MAX_ROUNDS
    assert end.dead is not None
    assert end.dead.reason == condition
    both = Rules(on_failure_arn=other_of(event), dead_letter_arn=LETTERS)
    assert [letter.target for letter in verdict(event, refused, both, T).follow_ups] == [LETTERS]


def other_of(event: Event) -> str:
    return OTHER if event.target == FUNCTION else FUNCTION


def test_what_is_lasting_is_not_tried_again():
    zero = NotBegun("No.", lasting=True, condition="ZeroReservedConcurrency")
    end = verdict(EVENT, zero, Rules(on_failure_arn=QUEUE, dead_letter_arn=LETTERS), T)
    record, letter = end.follow_ups
    assert json.loads(record.payload)["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert (letter.target, letter.payload) == (LETTERS, EVENT.payload)


def test_success_is_told_and_nothing_else_is():
    rules = Rules(on_success_arn=QUEUE, on_failure_arn=OTHER, dead_letter_arn=LETTERS)
    end = verdict(EVENT, Succeeded(b"5", "$LATEST"), rules, T + 1)
    (told,) = end.follow_ups
    assert told.target == QUEUE
    assert told.queue == FUNCTION
    assert told.source is EventSource.DESTINATION
    assert (told.accepted_at, told.due_at) == (T + 1, T + 1)
    assert end.again is None
    assert end.dead is None


def test_failure_goes_to_the_destination_and_to_the_dead_letter_queue():
    rules = Rules(max_retries=0, on_failure_arn=QUEUE, dead_letter_arn=QUEUE)
    end = verdict(EVENT, BROKEN, rules, T)
    assert [told.target for told in end.follow_ups] == [QUEUE, QUEUE]
    assert len({told.id for told in end.follow_ups}) == 2
    assert end.dead is None


def test_a_function_as_a_destination_has_the_record_in_its_own_queue_and_the_lineage():
    end = verdict(EVENT, Succeeded(b"5"), Rules(on_success_arn=f"{OTHER}:live"), T)
    (told,) = end.follow_ups
    assert (told.target, told.queue) == (f"{OTHER}:live", OTHER)
    assert ";Lineage=" in (told.trace_id or "")


def test_a_verdict_reached_twice_is_the_same():
    rules = Rules(max_retries=0, on_failure_arn=QUEUE, dead_letter_arn=LETTERS)
    assert verdict(EVENT, BROKEN, rules, T) == verdict(EVENT, BROKEN, rules, T)
    again = verdict(EVENT, BROKEN, rules, T + 1)  # replayed, it is told anew
    assert {e.id for e in again.follow_ups}.isdisjoint(
        e.id for e in verdict(EVENT, BROKEN, rules, T).follow_ups
    )


def test_a_record_that_cannot_be_delivered_backs_off_and_is_kept():
    record = structs.replace(EVENT, target=QUEUE, source=EventSource.DESTINATION)
    waits, end = follow(record, [NotBegun("nobody there")] * 1000, Rules(on_failure_arn=QUEUE))
    assert waits[:3] == [1, 2, 4]
    assert end.follow_ups == ()
    assert end.dead is not None
    assert end.dead.reason == "EventAgeExceeded"
    gone = verdict(record, NotBegun("no such queue", lasting=True), Rules(), T)
    assert gone.dead is not None
    assert gone.dead.event.last_error == "no such queue"


@pytest.mark.parametrize(
    ("policy", "waits", "condition"),
    [
        (DeliveryPolicy(max_attempts=3, max_age_s=9e9), [1, 2], "MaximumRetryAttempts"),
        (DeliveryPolicy(max_attempts=99, max_age_s=5), [1, 2, 2], "MaximumEventAgeInSeconds"),
        (DeliveryPolicy(max_attempts=1, max_age_s=9e9), [], "MaximumRetryAttempts"),
    ],
)
def test_a_schedule_s_event_goes_by_the_schedule_s_policy(policy, waits, condition):
    policy = structs.replace(policy, dead_letter_arn=LETTERS)
    event = structs.replace(EVENT, queue=SCHEDULE, target=QUEUE, policy=policy)
    seen, end = follow(event, [THROTTLED] * 99, Rules())
    (letter,) = end.follow_ups
    assert seen == waits
    assert (letter.target, letter.payload) == (LETTERS, b"{}")
    attributes = json.loads(letter.attributes["MessageAttributes"])
    assert attributes["EXHAUSTED_RETRY_CONDITION"]["StringValue"] == condition
    assert attributes["SCHEDULE_ARN"]["StringValue"] == SCHEDULE


@pytest.mark.parametrize(
    ("attempts", "waits"),
    [([BROKEN] * 3, [60, 120]), ([THROTTLED, THROTTLED, BROKEN, BROKEN, BROKEN], [1, 2, 60, 120])],
)
def test_a_schedule_s_event_for_a_function_goes_by_the_function_s_rules(attempts, waits):
    policy = DeliveryPolicy(max_attempts=1, max_age_s=1, dead_letter_arn=LETTERS)
    event = structs.replace(EVENT, queue=SCHEDULE, policy=policy)
    seen, end = follow(event, attempts, Rules(on_failure_arn=QUEUE))
    assert seen == waits
    assert [told.target for told in end.follow_ups] == [QUEUE]


def test_a_schedule_s_event_for_a_function_that_is_not_there_is_the_schedule_s_dead_letter():
    policy = DeliveryPolicy(max_attempts=9, max_age_s=900, dead_letter_arn=LETTERS)
    event = structs.replace(EVENT, queue=SCHEDULE, policy=policy)
    gone = NotBegun("Function not found", lasting=True, status=404)
    end = verdict(event, gone, Rules(on_failure_arn=QUEUE), T)
    assert [told.target for told in end.follow_ups] == [LETTERS]
