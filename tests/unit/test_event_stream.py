"""The event stream as botocore itself reads it."""

from __future__ import annotations

import itertools
import json

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from samovar.frontend import event_stream
from samovar.frontend.event_stream import MAX_DETAILS_CHARS, invoke_complete, payload_chunk


def read(data, *cuts):
    """The messages in a stream that arrives in pieces: checksums and lengths are checked."""
    buffer, messages = EventStreamBuffer(), []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        buffer.add_data(data[start:end])
        messages += list(buffer)
    return messages


@given(parts=st.lists(st.binary(max_size=5000), max_size=5), cuts=st.lists(st.integers(0)))
def test_chunks_are_read_as_they_were_written(parts, cuts):
    messages = read(b"".join(map(payload_chunk, parts)), *cuts)
    assert [message.payload for message in messages] == parts
    for message in messages:
        assert message.headers == {
            ":message-type": "event",
            ":event-type": "PayloadChunk",
            ":content-type": "application/octet-stream",
        }


@given(code=st.text() | st.none(), details=st.text() | st.none(), log=st.text() | st.none())
def test_the_end_says_what_there_is_to_say(code, details, log):
    (message,) = read(invoke_complete(code, details, log))
    assert message.headers[":event-type"] == "InvokeComplete"
    told = {"ErrorCode": code, "ErrorDetails": details, "LogResult": log}
    assert json.loads(message.payload) == {k: v for k, v in told.items() if v is not None}


@given(st.dictionaries(st.text(min_size=1, max_size=60), st.text(max_size=2000)))
def test_headers_are_read_as_they_were_written(headers):
    (message,) = read(event_stream.message(event_stream.encode_headers(headers), b""))
    assert message.headers == headers


def test_what_a_function_says_of_its_error_does_not_make_an_event_too_large():
    (message,) = read(invoke_complete("X", "\0" * (6 << 20)))
    assert len(message.payload) < 6 * MAX_DETAILS_CHARS + 100
