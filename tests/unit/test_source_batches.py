"""How records become batches: size, window, payload; and what a function's answer says of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.events.sources.answer import failed_ids
from samovar.events.sources.batch import ENVELOPE_BYTES, Batcher
from samovar.events.sources.record import Record, records_envelope
from samovar.model.invocation import MAX_PAYLOAD_BYTES
from tests.unit.fake_feed import mapping, record


def ids(batch):
    return batch and [each.id for each in batch]


def test_without_a_window_a_batch_is_what_there_is():
    batcher = Batcher(size=10, window_s=0)
    for number in range(3):
        batcher.add(record(number), now=5.0)
    assert ids(batcher.take(now=5.0)) == ["0", "1", "2"]
    assert batcher.take(now=5.0) is None


def test_a_window_begins_with_the_first_record():
    batcher = Batcher(size=10, window_s=20)
    batcher.add(record(0), now=5.0)
    batcher.add(record(1), now=24.0)
    assert batcher.due_at == 25.0
    assert batcher.take(now=24.9) is None
    assert ids(batcher.take(now=25.0)) == ["0", "1"]
    assert batcher.due_at is None


def test_a_full_batch_does_not_wait_for_its_window():
    batcher = Batcher(size=2, window_s=300)
    for number in range(5):
        batcher.add(record(number), now=0.0)
    assert [ids(batcher.take(now=0.0)) for _ in range(3)] == [["0", "1"], ["2", "3"], None]
    assert ids(batcher.rest()) == ["4"]


def test_a_payload_takes_no_more_than_six_megabytes():
    batcher = Batcher.of(mapping(batch_size=10_000, window_s=300))
    size = 1024 * 1024
    for number in range(12):
        batcher.add(Record(id=str(number), json=b"x" * size), now=0.0)
    batch = batcher.take(now=0.0)
    assert ids(batch) == ["0", "1", "2", "3", "4"]
    assert len(records_envelope(batch)) <= MAX_PAYLOAD_BYTES - ENVELOPE_BYTES + 100


def test_what_fits_into_no_payload_is_a_batch_of_its_own():
    batcher = Batcher(size=10, window_s=0, max_bytes=100)
    batcher.add(record(1), now=0.0)
    batcher.add(Record(id="large", json=b"x" * 1000), now=0.0)
    batcher.add(record(2), now=0.0)
    assert [ids(batcher.take(now=0.0)) for _ in range(3)] == [["1"], ["large"], ["2"]]


@given(
    st.lists(st.integers(0, 60), max_size=60),
    st.integers(1, 10),
    st.integers(20, 200),
)
def test_no_record_is_lost_doubled_or_put_before_another(sizes, size, max_bytes):
    batcher, taken = Batcher(size, window_s=3, max_bytes=max_bytes), []
    for now, length in enumerate(sizes):
        batcher.add(Record(id=str(now), json=b"x" * length), now=float(now))
        while batch := batcher.take(float(now)):
            assert len(batch) <= size
            assert len(batch) == 1 or sum(len(each.json) + 1 for each in batch) <= max_bytes
            taken += batch
    assert ids(taken + batcher.rest()) == [str(at) for at in range(len(sizes))] or not sizes


BATCH = {"a", "b", "c"}

ANSWERS = [
    ("null", set()),
    ("{}", set()),
    ('{"batchItemFailures": null}', set()),
    ('{"batchItemFailures": []}', set()),
    ('{"batchItemFailures": [], "more": [1, {"x": 2}]}', set()),
    ('{"batchItemFailures": [{"itemIdentifier": "b"}]}', {"b"}),
    ('{"batchItemFailures": [{"itemIdentifier": "b", "x": 1}, {"itemIdentifier": "b"}]}', {"b"}),
    ("", set()),
    (" ", BATCH),
    ("x", BATCH),
    ('"x"', BATCH),
    ("[]", BATCH),
    ("1", BATCH),
    ('{"batchItemFailures": 1}', BATCH),
    ('{"batchItemFailures": {"itemIdentifier": "b"}}', BATCH),
    ('{"batchItemFailures": ["b"]}', BATCH),
    ('{"batchItemFailures": [{"id": "b"}]}', BATCH),
    ('{"batchItemFailures": [{"itemIdentifier": null}]}', BATCH),
    ('{"batchItemFailures": [{"itemIdentifier": ""}]}', BATCH),
    ('{"batchItemFailures": [{"itemIdentifier": 1}]}', BATCH),
    ('{"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "d"}]}', BATCH),
    ('{"batchItemFailures": ' + "[" * 100_000, BATCH),
    ('{"x": ' + "[" * 2000 + "]" * 2000 + "}", BATCH),
]


@pytest.mark.parametrize(
    ("answer", "failed"),
    ANSWERS,
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value)[:60],
)
def test_an_answer_says_what_is_to_be_tried_again(answer, failed):
    assert failed_ids(answer.encode(), BATCH) == failed


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v)))
def test_any_answer_is_understood_or_fails_the_batch(answer):
    raw = answer if isinstance(answer, bytes) else answer.encode()
    assert failed_ids(raw, BATCH) <= BATCH
