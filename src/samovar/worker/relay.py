"""A streamed answer on its way from an instance to who asked: the same whether that is a client
that takes it as it comes, or a plain Invoke that wants it whole.
"""

from __future__ import annotations

from samovar.guest import wire
from samovar.model.invocation import MAX_STREAMED_BYTES
from samovar.ports import ResponseSink
from samovar.worker import report
from samovar.worker.parts import Parts


class Gathered:
    """The sink of an invocation that wants its answer whole. Keeps no more than fits in one."""

    def __init__(self) -> None:
        self._body = bytearray()
        self.too_large = False

    async def begin(self, content_type: str | None) -> None:
        """See `ports.ResponseSink`."""

    async def write(self, part: bytes) -> None:
        """See `ports.ResponseSink`. Over the limit, the rest is thrown away as it comes: the
        instance is in order, and is to live on."""
        if self.too_large or len(self._body) + len(part) > report.RESPONSE_LIMIT_BYTES:
            self.too_large = True
            self._body.clear()
        else:
            self._body += part

    def body(self) -> bytes:
        """All of it. Raises `report.FaultError` where it was too large."""
        if self.too_large:
            raise report.FaultError(report.response_too_large(), in_order=True)
        return bytes(self._body)


async def relay(meta: wire.Meta, parts: Parts, sink: ResponseSink | None) -> tuple[int, bytes]:
    """Pass on a stream that began with a HEAD of this `meta`; return the kind of the frame that
    ended it, and what the outcome's payload is.

    Raises the channel's `ChannelClosedError`, and `report.FaultError` for a stream that is too
    large. Its caller cancels it at the function's timeout, whatever it waits for then."""
    gathered = Gathered()
    taker = gathered if sink is None else sink
    content_type = meta.get("content_type")
    await taker.begin(content_type if isinstance(content_type, str) else None)
    room_bytes = MAX_STREAMED_BYTES
    while part := await parts.take():
        await taker.write(part[:room_bytes])
        room_bytes -= len(part)
        if room_bytes < 0:
            raise report.FaultError(report.stream_too_large())
    assert parts.end is not None
    kind, _, body = parts.end
    if kind == wire.RESPONSE and sink is None:
        body = gathered.body()
    return kind, body
