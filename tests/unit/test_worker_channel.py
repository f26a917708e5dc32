"""A worker's end of a channel against an instance that does as it likes."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samovar.guest import wire
from samovar.worker.channel import SMALL_READS, TURN_FRAMES, Channel, ChannelClosedError
from tests.unit.scripted_worker import until

INVOKE = wire.encode(wire.INVOKE, {"id": "1"}, b"{}")
ANSWER = wire.encode(wire.RESPONSE, None, b"1")
HEAD = wire.encode(wire.HEAD)
END = wire.encode(wire.RESPONSE)


class Ends:
    """A channel, the instance's side of it, and whether its owner was told of its end."""

    def __init__(self):
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.theirs.setblocking(False)
        self.ours = ours
        self.closed = 0
        self.channel = Channel(ours, self._told)

    def _told(self):
        self.closed += 1

    def close(self):
        self.channel.close()
        self.ours.close()
        self.theirs.close()


@pytest.fixture
async def ends():
    made = Ends()
    yield made
    made.close()


async def test_an_answer_arrives_in_however_many_pieces(ends):
    answer = ends.channel.request(INVOKE)
    for byte in ANSWER:
        ends.theirs.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await answer == (wire.RESPONSE, {}, b"1")


async def test_a_request_larger_than_the_socket_holds_is_sent_as_it_is_read(ends):
    frame = wire.encode(wire.INVOKE, None, b"x" * (4 << 20))
    answer = ends.channel.request(frame)
    received = 0
    while received < len(frame):
        received += len(await asyncio.get_running_loop().sock_recv(ends.theirs, 1 << 20))
    ends.theirs.send(ANSWER)
    await answer
    assert not ends.channel.closed


async def test_the_owner_is_told_once_that_the_other_side_is_gone(ends):
    answer = ends.channel.request(INVOKE)
    ends.theirs.close()
    with pytest.raises(ChannelClosedError) as ended:
        await answer
    assert ended.value.breach is None
    assert ends.closed == 1


async def test_the_owner_is_not_told_of_what_it_did_itself(ends):
    answer = ends.channel.request(INVOKE)
    ends.channel.close()
    ends.channel.close()
    with pytest.raises(ChannelClosedError):
        await answer
    assert ends.closed == 0


async def test_a_request_on_a_closed_channel_fails(ends):
    ends.theirs.close()
    await until(lambda: ends.channel.closed)
    with pytest.raises(ChannelClosedError):
        await ends.channel.request(INVOKE)


async def test_an_answer_to_a_request_that_was_given_up_is_swallowed_and_the_next_is_unasked(ends):
    ends.channel.request(INVOKE).cancel()
    ends.theirs.send(ANSWER)
    await until(lambda: ends.channel._answer is None)
    assert not ends.channel.closed
    ends.theirs.send(ANSWER)
    await until(lambda: ends.closed)


async def test_what_is_behind_a_breach_is_not_looked_at(ends):
    answer = ends.channel.request(INVOKE)
    ends.theirs.send(ANSWER + ANSWER + wire.frame(wire.RESPONSE, b"no JSON", b""))
    assert await answer == (wire.RESPONSE, {}, b"1")
    with pytest.raises(ChannelClosedError) as ended:
        await ends.channel.request(INVOKE)
    assert "unasked" in ended.value.breach


def test_a_part_is_refused_before_more_than_its_header_is_there():
    reader = wire.FrameReader()
    with pytest.raises(wire.ProtocolError):
        next(reader.feed(wire.HEADER.pack(wire.PART, 0, wire.MAX_PART_BYTES + 1)))


# ---------------------------------------------------------------- trifles


def parts(count: int) -> bytes:
    """So many frames of one byte each."""
    return b"".join(wire.encode(wire.PART, None, bytes([n % 256])) for n in range(count))


def bodies(count: int) -> bytes:
    return bytes(n % 256 for n in range(count))


async def body_of(channel: Channel) -> bytes:
    body = b""
    while part := await channel.parts.take():
        body += part
    return body


async def test_a_turn_takes_few_frames_and_the_rest_comes_after_a_rest(ends):
    many = 5 * TURN_FRAMES
    answer = ends.channel.request(INVOKE)
    ends.theirs.send(HEAD + parts(many) + END)
    await answer
    assert ends.channel.paused
    assert len(ends.channel.parts._held) < TURN_FRAMES
    assert await body_of(ends.channel) == bodies(many)
    assert not ends.channel.closed


async def test_reads_that_go_on_bringing_little_call_for_a_rest(ends):
    answer = ends.channel.request(INVOKE)
    ends.theirs.send(HEAD)
    await answer
    sent = 0
    while not ends.channel.paused:
        assert sent < SMALL_READS
        held = len(ends.channel.parts._held)
        ends.theirs.send(wire.encode(wire.PART, None, bytes([sent])))
        sent += 1
        await until(lambda held=held: len(ends.channel.parts._held) > held)
    ends.theirs.send(END)
    assert await body_of(ends.channel) == bodies(sent)


async def test_so_do_the_bytes_of_an_answer_one_by_one(ends):
    answer = ends.channel.request(INVOKE)
    pieces = [bytes([byte]) for byte in ANSWER]
    while not ends.channel.paused:
        ends.theirs.send(pieces.pop(0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert pieces
    ends.theirs.send(b"".join(pieces))
    assert await answer == (wire.RESPONSE, {}, b"1")


async def test_a_stream_of_large_parts_never_rests(ends, monkeypatch):
    monkeypatch.setattr(ends.channel, "_rest", lambda: pytest.fail("it rests"))
    answer = ends.channel.request(INVOKE)
    ends.theirs.send(HEAD)
    await answer
    taking = asyncio.create_task(body_of(ends.channel))
    sending = asyncio.get_running_loop().sock_sendall
    for _ in range(10 * SMALL_READS):
        await sending(ends.theirs, wire.encode(wire.PART, None, bytes(wire.MAX_PART_BYTES)))
    await sending(ends.theirs, END)
    assert len(await taking) == 10 * SMALL_READS * wire.MAX_PART_BYTES


async def test_requests_that_follow_each_other_never_rest(ends, monkeypatch):
    monkeypatch.setattr(ends.channel, "_rest", lambda: pytest.fail("it rests"))
    for _ in range(10 * SMALL_READS):
        answer = ends.channel.request(INVOKE)
        ends.theirs.send(ANSWER)
        await answer


async def test_the_next_request_does_not_wait_for_the_end_of_a_rest(ends):
    answer = ends.channel.request(INVOKE)
    ends.theirs.send(HEAD + parts(TURN_FRAMES - 2) + END)
    await answer
    assert ends.channel.paused
    ends.channel.request(INVOKE)
    assert not ends.channel.paused


async def test_what_was_sent_before_the_other_side_went_is_whole_however_small_its_pieces(ends):
    answer = ends.channel.request(INVOKE)
    ends.theirs.send(HEAD + parts(3 * TURN_FRAMES) + END)
    ends.theirs.close()
    await answer
    assert await body_of(ends.channel) == bodies(3 * TURN_FRAMES)
    await until(lambda: ends.closed)


async def test_a_rest_that_the_end_cut_short_is_over_once(ends):
    ends.channel.request(INVOKE)
    ends.theirs.send(HEAD + parts(5 * TURN_FRAMES))
    await until(lambda: ends.channel.pace.resting)
    ends.channel.close()
    with pytest.raises(ChannelClosedError):
        await ends.channel.request(INVOKE)
    assert ends.channel.pace.resting == 0


async def test_a_channel_may_be_closed_while_it_rests(ends):
    answer = ends.channel.request(INVOKE)
    ends.theirs.send(HEAD + parts(5 * TURN_FRAMES))
    await answer
    resting = ends.channel._resting
    ends.channel.close()
    assert resting.cancelled()
    with pytest.raises(ChannelClosedError):
        await body_of(ends.channel)


async def test_after_the_last_word_a_flood_is_discarded_with_rests(ends):
    ends.channel.tell_last(wire.encode(wire.SHUTDOWN))
    for _ in range(3):
        ends.theirs.send(parts(1000))
        await until(lambda: ends.channel.paused)
        await until(lambda: not ends.channel.paused)
    assert not ends.closed


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(noise=st.binary(min_size=1, max_size=200), cut=st.integers(0, 200))
def test_noise_is_an_answer_or_the_end_but_never_an_accident(noise, cut):
    async def play():
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
        ends = Ends()
        answer = ends.channel.request(INVOKE)
        for part in filter(None, (noise[:cut], noise[cut:])):
            ends.theirs.send(part)
            await asyncio.sleep(0)
        ends.theirs.shutdown(socket.SHUT_WR)
        await until(lambda: ends.channel.closed)
        await asyncio.wait([answer])
        answer.exception()
        ends.close()
        assert complaints == []

    asyncio.run(play())
