"""The worker's end of an instance's channel: one request at a time, one answer.

An answer is one frame, or a HEAD whose stream is then in `parts`: while its taker is slow, the
socket is not read. After an answer that is `pending`, one IDLE is due.

Everything that comes from the instance is untrusted. A frame that nobody asked for, an answer to a
request that it has not read to the end (or what is unsent would pile up here), and what breaks the
bounds of `samovar.guest.wire` closes the channel with `ChannelClosedError`; its owner is told and
ends the instance.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from samovar.guest import wire
from samovar.worker.parts import Parts


class ChannelClosedError(Exception):
    """The instance closed its end, died, or broke the protocol (`breach` says how)."""

    def __init__(self, breach: str | None = None) -> None:
        super().__init__(breach or "closed")
        self.breach = breach


class Channel:
    """Frames over a non-blocking stream socket, on the running event loop.

    `on_closed` is called when the other side closes the channel or breaks the protocol.
    `parts` is the stream of the newest answer, if it is one; `idle`, where that answer is pending,
    is done when the instance is (True) or when no IDLE will come any more (False)."""

    def __init__(self, sock: socket.socket, on_closed: Callable[[], None]) -> None:
        self._sock = sock
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._reader = wire.FrameReader()
        self._unsent = bytearray()
        self._answer: asyncio.Future[wire.Frame] | None = None
        self._closed: ChannelClosedError | None = None
        self.parts: Parts | None = None
        self.idle: asyncio.Future[bool] | None = None
        self.paused = False
        """Whether the socket is not being read, since the taker of a stream is slow."""
        self._watching = True
        self._silenced = False
        """Whether what comes is discarded."""
        self._loop.add_reader(sock, self._readable)

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._closed is not None

    def request(self, frame: bytes) -> asyncio.Future[wire.Frame]:
        """Send a frame; the future is the answer. It fails with `ChannelClosedError`."""
        answer: asyncio.Future[wire.Frame] = self._loop.create_future()
        self._answer = answer
        self.parts = self.idle = None
        if self._closed is not None:
            answer.set_exception(self._closed)
        else:
            self._send(frame)
        return answer

    def tell(self, frame: bytes) -> None:
        """Send a frame to which no answer is due."""
        if self._closed is None:
            self._send(frame)

    def tell_last(self, frame: bytes) -> None:
        """Send the last frame, and end what waits for an answer. Until `close`, what still comes is
        discarded: the instance may say what nobody waits for any more."""
        self.tell(frame)
        if self._closed is None:
            self._silenced = True
            self._resume()
            self._give_up(ChannelClosedError())

    def close(self) -> None:
        """Stop using the socket (its owner closes it)."""
        self._end(ChannelClosedError())

    # ------------------------------------------------------------ sending

    def _send(self, data: bytes) -> None:
        try:
            sent = 0 if self._unsent else self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self._fail(ChannelClosedError())
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._loop.add_writer(self._sock, self._writable)
        return None

    def _writable(self) -> None:
        try:
            sent = self._sock.send(self._unsent[: 1 << 20])
        except BlockingIOError:
            return None
        except OSError:
            return self._fail(ChannelClosedError())
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock)
        return None

    # ------------------------------------------------------------ receiving

    def _readable(self) -> None:
        try:
            data = self._sock.recv(wire.RECV_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return self._fail(ChannelClosedError())
        if not data:
            return self._fail(ChannelClosedError())
        if self._silenced:
            return None
        try:
            frames = self._reader.feed(data)
        except (wire.ProtocolError, RecursionError) as error:  # the latter: JSON nested too deep
            return self._fail(ChannelClosedError(str(error)))
        if frames and self._unsent:
            return self._fail(ChannelClosedError("an answer before the request was read"))
        for frame in frames:
            answer, self._answer = self._answer, None
            if answer is None:
                breach = self._more(frame)
                if breach is not None:
                    return self._fail(ChannelClosedError(breach))
                continue
            if frame[0] == wire.HEAD:
                self.parts = Parts(self._resume)
            elif frame[1]:
                self._check_pending(frame)
            if not answer.done():
                answer.set_result(frame)
        if self.parts is not None and self.parts.full and not self.paused:
            self.paused = True
            self._loop.remove_reader(self._sock)
        return None

    def _more(self, frame: wire.Frame) -> str | None:
        """Take what may come after the first frame of an answer; return what is wrong with it."""
        if self.parts is not None and self.parts.end is None:
            breach = self.parts.feed(frame)
            if breach is None and frame[0] != wire.PART:
                self._check_pending(frame)
            return breach
        if frame[0] == wire.IDLE and self.idle is not None and not self.idle.done():
            self.idle.set_result(True)
            return None
        return f"unasked frame of type {frame[0]}"

    def _check_pending(self, frame: wire.Frame) -> None:
        if frame[0] in (wire.RESPONSE, wire.ERROR) and frame[1].get("pending") is True:
            self.idle = self._loop.create_future()

    def _resume(self) -> None:
        if self.paused and self._closed is None:
            self.paused = False
            self._loop.add_reader(self._sock, self._readable)

    def _fail(self, error: ChannelClosedError) -> None:
        was_open = self._closed is None
        self._end(error)
        if was_open:
            self._on_closed()

    def _end(self, error: ChannelClosedError) -> None:
        self._give_up(error)
        if self._watching:
            self._watching = False
            self._unsent.clear()
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)

    def _give_up(self, error: ChannelClosedError) -> None:
        """Nobody is to wait any more."""
        if self._closed is not None:
            return
        self._closed = error
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        if self.parts is not None:
            self.parts.fail(error)
        if self.idle is not None and not self.idle.done():
            self.idle.set_result(False)
