"""The buffer of a telemetry subscriber: nothing is lost unsaid, nothing goes over its bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from samovar.guest.telemetry_buffer import Batch, TelemetryBuffer

MAX_ITEMS, MAX_BYTES = 5, 100

steps = st.lists(st.one_of(st.binary(max_size=150), st.just(None)), max_size=60)


@given(steps)
def test_every_record_is_sent_or_counted(steps: list[bytes | None]) -> None:
    buffer = TelemetryBuffer(MAX_ITEMS, MAX_BYTES)
    sent: list[bytes] = []
    dropped_records = dropped_bytes = 0
    for step in [*steps, None]:
        if step is not None:
            buffer.add(step)
            continue
        batch = buffer.take()
        assert len(batch.records) <= MAX_ITEMS
        assert len(batch.records) == 1 or sum(map(len, batch.records)) <= MAX_BYTES
        sent += batch.records
        dropped_records += batch.dropped_records
        dropped_bytes += batch.dropped_bytes
        assert buffer.empty
    given_records = [step for step in steps if step is not None]
    assert len(sent) + dropped_records == len(given_records)
    assert sum(map(len, sent)) + dropped_bytes == sum(map(len, given_records))
    remaining = iter(given_records)
    assert all(record in remaining for record in sent)  # in their order


def test_a_record_that_is_larger_than_all_room_still_goes_out() -> None:
    buffer = TelemetryBuffer(MAX_ITEMS, MAX_BYTES)
    buffer.add(b"x" * 1000)
    assert buffer.full
    assert buffer.take().records == [b"x" * 1000]


def test_a_batch_that_was_lost_is_told_in_the_next_and_so_is_what_it_would_have_told() -> None:
    buffer = TelemetryBuffer(MAX_ITEMS, MAX_BYTES)
    buffer.count_lost(Batch([b"12", b"345"], 7, 70))
    assert not buffer.empty
    assert buffer.take() == ([], 2 + 7, 5 + 70)
