"""What becomes of a stream's batch after an attempt, and how far its shard has come. Pure."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.events.sources.poller import Ending
from samovar.events.sources.retry import Work, after, without_old
from samovar.events.sources.streams.progress import Progress
from samovar.events.sources.streams.shards import (
    begin_position,
    first_positions,
    forgettable,
    readable,
)
from samovar.events.sources.streams.stream import Position, Shard
from tests.unit.fake_feed import SUCCEEDED, failed, mapping, not_begun, partly_failed, record

BATCH = [record(number) for number in range(5)]


def numbers(records):
    return [int(each.id) for each in records]


def test_a_batch_that_succeeded_is_done():
    then = after(Work(BATCH, failures=3), SUCCEEDED, mapping())
    assert (numbers(then.done), then.given_up, then.again) == ([0, 1, 2, 3, 4], None, ())


def test_a_batch_that_failed_is_tried_again_as_it_is():
    [again] = after(Work(BATCH), failed(BATCH), mapping(max_retries=-1)).again
    assert (numbers(again.records), again.failures, again.back_off_s) == ([0, 1, 2, 3, 4], 1, 1.0)
    [again] = after(again, failed(BATCH), mapping(max_retries=-1)).again
    assert (again.failures, again.back_off_s) == (2, 2.0)


@pytest.mark.parametrize("most", [0, 1, 5])
def test_a_batch_is_tried_as_often_as_its_owner_wants(most):
    work, attempts = Work(BATCH), 0
    while True:
        attempts += 1
        then = after(work, failed(BATCH), mapping(max_retries=most))
        if then.given_up is not None:
            break
        [work] = then.again
    assert attempts == most + 1
    assert numbers(then.given_up.records) == [0, 1, 2, 3, 4]
    assert then.given_up.failures == attempts


def test_what_was_not_begun_counts_as_no_attempt():
    work = Work(BATCH)
    for _ in range(20):
        [work] = after(work, not_begun(BATCH), mapping(max_retries=0)).again
    assert work.failures == 0
    assert work.back_off_s == 60.0


def test_a_batch_is_split_in_two_and_that_counts_as_no_attempt():
    first, second = after(Work(BATCH), failed(BATCH), mapping(bisect=True, max_retries=0)).again
    assert (numbers(first.records), numbers(second.records)) == ([0, 1], [2, 3, 4])
    assert (first.failures, first.waits) == (0, 0)


def test_one_record_is_not_split():
    then = after(Work(BATCH[:1]), failed(BATCH[:1]), mapping(bisect=True, max_retries=0))
    assert numbers(then.given_up.records) == [0]


def test_it_goes_on_with_the_first_record_that_was_reported():
    then = after(Work(BATCH, failures=4), partly_failed(4, 2), mapping(max_retries=4, bisect=True))
    assert numbers(then.done) == [0, 1]
    [again] = then.again
    assert (numbers(again.records), again.failures) == ([2, 3, 4], 1)


def test_no_progress_is_a_failure_like_any_other():
    then = after(Work(BATCH, failures=2), partly_failed(0), mapping(max_retries=2))
    assert (then.done, numbers(then.given_up.records)) == ((), [0, 1, 2, 3, 4])


def test_reported_records_are_given_up_when_there_are_no_retries():
    then = after(Work(BATCH), partly_failed(3), mapping(max_retries=0))
    assert (numbers(then.done), numbers(then.given_up.records)) == ([0, 1, 2], [3, 4])


def test_records_that_are_too_old_are_left_out():
    records = [record(number, arrived_at=100.0 + number) for number in range(4)]
    old, rest = without_old(Work(records, failures=2), max_age_s=60, now=162.5)
    assert (numbers(old.records), numbers(rest.records)) == ([0, 1, 2], [3])
    assert old.failures == rest.failures == 2
    assert without_old(Work(records), max_age_s=60, now=160.0) == (None, Work(records))
    assert without_old(Work(records), max_age_s=60, now=999.0) == (Work(records), None)


@given(st.integers(1, 30), st.integers(0, 3), st.booleans(), st.randoms(use_true_random=False))
def test_every_record_is_done_or_given_up_in_order(count, most, bisect, chance):
    of = mapping(max_retries=most, bisect=bisect)
    records = [record(number) for number in range(count)]
    to_do, ended = [Work(records)], []
    for _ in range(10_000):
        if not to_do:
            break
        work = to_do.pop(0)
        then = after(work, _any_result(work, chance), of)
        to_do[:0] = then.again
        ended += numbers(then.done)
        ended += numbers(then.given_up.records) if then.given_up else []
    assert ended == list(range(count))


def _any_result(work, chance: random.Random):
    match chance.choice([*Ending]):
        case Ending.SUCCEEDED:
            return SUCCEEDED
        case Ending.FAILED:
            return failed(work.records)
        case Ending.NOT_BEGUN:
            return not_begun(work.records)
        case Ending.PARTLY_FAILED:
            return partly_failed(*numbers(chance.sample(list(work.records), 1)))


# ---------------------------------------------------------------- progress


def test_the_position_waits_for_the_first_record_that_is_not_done():
    progress = Progress()
    for number in "12345":
        assert progress.add(number)
    assert progress.done("2") is None
    assert progress.done("3") is None
    assert progress.done("1") == "3"
    assert len(progress) == 2
    assert progress.done("45") == "5"
    assert len(progress) == 0


def test_a_record_that_comes_twice_is_known():
    progress = Progress()
    assert progress.add("1")
    assert not progress.add("1")
    assert progress.done("1") == "1"
    assert progress.add("1")


@given(st.permutations(range(20)))
def test_in_any_order_everything_is_done_in_the_end(order):
    progress, last = Progress(), None
    for number in range(20):
        progress.add(str(number))
    done = set()
    for number in order:
        done.add(number)
        last = progress.done([str(number)]) or last
        assert last is None or all(each in done for each in range(int(last) + 1))
    assert (last, len(progress)) == ("19", 0)


# ---------------------------------------------------------------- shards

SPLIT = [Shard("a", closed=True), Shard("b", frozenset("a")), Shard("c", frozenset("a"))]
MERGED = [*SPLIT, Shard("d", frozenset("bc"))]


def names(shards):
    return [each.id for each in shards]


def test_parents_are_read_first():
    done = Position(done=True)
    assert names(readable(MERGED, {})) == ["a"]
    assert names(readable(MERGED, {"a": Position(after="7")})) == ["a"]
    assert names(readable(MERGED, {"a": done})) == ["b", "c"]
    assert names(readable(MERGED, {"a": done, "b": done})) == ["c"]
    assert names(readable(MERGED, {"a": done, "b": done, "c": done})) == ["d"]


def test_parents_that_the_stream_has_dropped_are_not_waited_for():
    assert names(readable(MERGED[1:], {})) == ["b", "c"]


def test_with_the_latest_record_begins_what_is_open():
    begun = first_positions(mapping(starting_position="LATEST"), SPLIT, now=50.0)
    open_since = Position(since=50.0, latest=True)
    assert begun == {"a": Position(done=True), "b": open_since, "c": open_since}


def test_with_the_oldest_record_everything_begins():
    assert first_positions(mapping(), SPLIT, now=50.0) == {}
    assert begin_position(mapping()) == Position()


def test_dropped_shards_are_forgotten_when_they_are_done():
    positions = {"a": Position(done=True), "b": Position(done=True), "x": Position(after="1")}
    assert forgettable(SPLIT[1:], positions) == ["a"]


@pytest.mark.parametrize("position", [Position(), Position(after="1"), Position(since=2.5)])
def test_a_position_is_kept(position):
    assert Position.from_json(position.to_json()) == position
