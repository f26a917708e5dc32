"""A lane: one channel of an instance, on which one invocation at a time runs to its end.

An instance has as many as it may take requests at once. Where that is one, its lane is the channel
that carried INIT; else they are opened as they are needed, each with a flow control of its own: who
takes one answer slowly holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from samovar.guest import wire
from samovar.ports import Exit, ResponseSink, SandboxInstance
from samovar.worker import report
from samovar.worker.channel import Channel, ChannelClosedError
from samovar.worker.relay import relay

REST_GRACE_S = 0.005
"""A runtime asks for its next event within a fraction of a millisecond after an answer. A client
that calls again at once is to find the instance idle, not one more being started."""


class Lane:
    """Runs invocations on `channel`, each for at most `timeout_s`. `why_closed` sees to the end of
    an instance whose channel has closed, waits for it, and tells how it was."""

    def __init__(
        self,
        channel: Channel,
        handle: SandboxInstance,
        memory_mib: int,
        timeout_s: float,
        why_closed: Callable[[ChannelClosedError], Awaitable[report.Fault]],
    ) -> None:
        self.channel = channel
        self._handle = handle
        self._memory_bytes = memory_mib << 20
        self._timeout_s = timeout_s
        self._why_closed = why_closed
        self._begun = 0.0
        """When the newest invocation began."""

    async def ask(self, frame: bytes, sink: ResponseSink | None) -> tuple[int, bytes]:
        """Send an INVOKE; return whether it is a RESPONSE or an ERROR, and the payload.

        Raises `report.FaultError` for every other end."""
        timeout_s = self._timeout_s
        self._begun = time.perf_counter()
        answer = self.channel.request(frame)
        timer = asyncio.get_running_loop().call_later(timeout_s, _expire, answer)
        try:
            kind, meta, body = await answer
            if kind == wire.HEAD and self.channel.parts is not None:
                parts = self.channel.parts
                async with self._until_timeout():
                    kind, body = await relay(meta, parts, sink)
                meta = parts.end[1] if parts.end else {}
        except TimeoutError as error:
            raise report.FaultError(report.timed_out(timeout_s)) from error
        except ChannelClosedError as error:
            raise report.FaultError(await self._why_closed(error)) from error
        finally:
            timer.cancel()
        if kind not in (wire.RESPONSE, wire.ERROR):
            raise report.FaultError(report.exited(Exit(code=0)))
        if kind == wire.ERROR and "fault" in meta:
            starved = self._handle.peak_memory_bytes() >= self._memory_bytes
            raise report.FaultError(report.declared(meta, starved))
        if len(body) > report.RESPONSE_LIMIT_BYTES:
            raise report.FaultError(report.response_too_large())
        return kind, body

    async def die(self, frame: bytes, _: ResponseSink | None) -> tuple[int, bytes]:
        """Have it be given the event, and be killed. Raises `report.FaultError`."""
        answer = self.channel.request(frame)
        self.channel.close()  # should it be faster than the kill: what it answers is not heard
        try:
            await answer
        except ChannelClosedError as error:
            await self._handle.stop()
            raise report.FaultError(report.exited(await self._handle.exited)) from error
        raise AssertionError("a closed channel has given an answer")

    async def is_at_rest(self) -> bool:
        """Whether an instance whose answer is pending is done, or will be in a moment."""
        idle = self.channel.idle
        assert idle is not None, "not pending"
        await asyncio.wait((idle,), timeout=REST_GRACE_S)
        return idle.done()

    async def await_rest(self) -> bool:
        """Wait until an instance that has answered is done, within what is left of its timeout;
        return whether it is."""
        idle, survives = self.channel.idle, False
        assert idle is not None, "not pending"
        with contextlib.suppress(TimeoutError):
            async with self._until_timeout():
                survives = await idle and not self.channel.closed
        return survives

    def _until_timeout(self) -> asyncio.Timeout:
        return asyncio.timeout(self._timeout_s - (time.perf_counter() - self._begun))


def _expire(answer: asyncio.Future[wire.Frame]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
