"""A worker's end of a channel against an instance that does as it likes."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samovar.guest import wire
from samovar.worker.channel import Channel, ChannelClosedError
from tests.unit.scripted_worker import until

INVOKE = wire.encode(wire.INVOKE, {"id": "1"}, b"{}")
ANSWER = wire.encode(wire.RESPONSE, None, b"1")


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
