"""The worker's end of an instance's channel: one request at a time, one answer.

An answer is one frame, or a HEAD whose stream is then in `parts`: while its taker is slow, the
socket is not read. After an answer that is `pending`, one IDLE is due.

Everything that comes from the instance is untrusted. A frame that nobody asked for, an answer to a
request that it has not read to the end (or what is unsent would pile up here), and what breaks the
bounds of `samovar.guest.wire` closes the channel with `ChannelClosedError`; its owner is told and
ends the instance.

Nor may an instance keep the event loop busy with trifles, which cost far more to take than to
send. A turn takes at most `TURN_FRAMES` frames; if more have come, or reads go on bringing little,
the channel rests for `REST_S`, and what is sent meanwhile comes in larger pieces then. A stream of
large parts never rests.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from samovar.guest import wire
from samovar.worker.parts import Parts

TURN_FRAMES = 64
"""Taken at once: some 0.2 ms of work. A read holds more only if they are below 1 KiB."""

SMALL_READ_BYTES = 16 * 1024
SMALL_READS = 8
"""So many reads below that size in one request, with no larger one between, call for a rest."""

REST_S = 0.005


class Pace:
    """How long the channels of one instance rest. If many of them have to, each does for longer:
    together they get no more of the event loop than one does."""

    def __init__(self) -> None:
        self.resting = 0

    def next_rest_s(self) -> float:
        """One more begins to rest: for how long."""
        self.resting += 1
        return REST_S * self.resting


_LANE_FRAME = wire.encode(wire.LANE)


class ChannelClosedError(Exception):
    """The instance closed its end, died, or broke the protocol (`breach` says how)."""

    def __init__(self, breach: str | None = None) -> None:
        super().__init__(breach or "closed")
        self.breach = breach


class Channel:
    """Frames over a non-blocking stream socket, on the running event loop.

    `on_closed` is called when the other side closes the channel or breaks the protocol. `pace` is
    that of the instance's other channels; `may_pend`: whether answers may be pending.
    `parts` is the stream of the newest answer, if it is one; `idle`, where that answer is pending,
    is done when the instance is (True) or when no IDLE will come any more (False)."""

    def __init__(
        self,
        sock: socket.socket,
        on_closed: Callable[[], None],
        pace: Pace | None = None,
        *,
        may_pend: bool = True,
    ) -> None:
        self._sock = sock
        self._on_closed = on_closed
        self.pace = pace or Pace()
        self._may_pend = may_pend
        self._loop = asyncio.get_running_loop()
        self._reader = wire.FrameReader()
        self._unsent = bytearray()
        self._unpassed: list[socket.socket] = []
        self._answer: asyncio.Future[wire.Frame] | None = None
        self._closed: ChannelClosedError | None = None
        self.parts: Parts | None = None
        self.idle: asyncio.Future[bool] | None = None
        self._full = False
        """Whether the taker of a stream has to take some before more is read."""
        self._small_reads = 0
        self._left_over = False
        """Whether the reader may have whole frames that a turn has left there."""
        self._resting: asyncio.TimerHandle | None = None
        self._watching = True
        self._silenced = False
        """Whether what comes is discarded."""
        self._loop.add_reader(sock, self._readable)

    @property
    def closed(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._closed is not None

    @property
    def breached(self) -> bool:
        """Whether it has closed because the instance broke the protocol."""
        return self._closed is not None and self._closed.breach is not None

    @property
    def paused(self) -> bool:
        """Whether what has come is not being read for now."""
        return self._full or self._resting is not None

    def request(self, frame: bytes) -> asyncio.Future[wire.Frame]:
        """Send a frame; the future is the answer. It fails with `ChannelClosedError`."""
        answer: asyncio.Future[wire.Frame] = self._loop.create_future()
        if self._resting is not None:
            self._resting.cancel()
            self._rested()
        self._small_reads = 0
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

    def pass_on(self, lane: socket.socket) -> None:
        """Give the instance the far end of a lane, in a LANE frame: at once, or when it has read
        what comes before. It is closed here."""
        self._unpassed.append(lane)
        if self._closed is not None:
            self._drop_unpassed()
        elif not self._unsent:
            self._pass_on()

    def tell_last(self, frame: bytes) -> None:
        """Send the last frame, and end what waits for an answer. Until `close`, what still comes is
        discarded: the instance may say what nobody waits for any more."""
        self.tell(frame)
        if self._closed is None:
            self.silence()

    def silence(self) -> None:
        """Ask nothing any more, and discard what still comes: the instance is not to be held up by
        what it says to nobody."""
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
        if not self._unsent:
            self._loop.remove_writer(self._sock)
            return self._pass_on()
        try:
            sent = self._sock.send(self._unsent[: 1 << 20])
        except BlockingIOError:
            return None
        except OSError:
            return self._fail(ChannelClosedError())
        del self._unsent[:sent]
        if not self._unsent:
            self._loop.remove_writer(self._sock)
            self._pass_on()
        return None

    def _pass_on(self) -> None:
        """Frame and descriptor go in one system call, so the one is where the other is; what is
        shorter than a page is sent whole or not at all."""
        while self._unpassed:
            try:
                socket.send_fds(self._sock, [_LANE_FRAME], [self._unpassed[0].fileno()])
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._writable)
                return None
            except OSError:
                return self._fail(ChannelClosedError())
            self._unpassed.pop(0).close()
        return None

    def _drop_unpassed(self) -> None:
        while self._unpassed:
            self._unpassed.pop().close()

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
        self._small_reads = self._small_reads + 1 if len(data) < SMALL_READ_BYTES else 0
        return self._turn(data)

    def _turn(self, data: bytes) -> None:
        """Take what has come, a bounded number of frames."""
        if self._silenced:
            return self._rest()
        left = TURN_FRAMES
        try:
            for frame in self._reader.feed(data):
                breach = self._take(frame)
                if breach is not None:
                    return self._fail(ChannelClosedError(breach))
                left -= 1
                if not left:
                    break
        except (wire.ProtocolError, RecursionError) as error:  # the latter: JSON nested too deep
            return self._fail(ChannelClosedError(str(error)))
        self._left_over = not left
        if not left or self._small_reads >= SMALL_READS:
            self._rest()
        if self.parts is not None and self.parts.full and not self._full:
            self._full = True
            self._loop.remove_reader(self._sock)
        return None

    def _take(self, frame: wire.Frame) -> str | None:
        """Take one frame; return what is wrong with it, if anything is."""
        if self._unsent:
            return "an answer before the request was read"
        answer, self._answer = self._answer, None
        if answer is None:
            return self._more(frame)
        if frame[0] == wire.HEAD:
            self.parts = Parts(self._resume)
        elif frame[1] and not self._takes_pending(frame):
            self._answer = answer
            return "an answer that is pending"
        if not answer.done():
            answer.set_result(frame)
        return None

    def _more(self, frame: wire.Frame) -> str | None:
        """Take what may come after the first frame of an answer; return what is wrong with it."""
        if self.parts is not None and self.parts.end is None:
            breach = self.parts.feed(frame)
            if breach is None and frame[0] != wire.PART and not self._takes_pending(frame):
                return "a stream whose end is pending"
            return breach
        if frame[0] == wire.IDLE and self.idle is not None and not self.idle.done():
            self.idle.set_result(True)
            return None
        return f"unasked frame of type {frame[0]}"

    def _takes_pending(self, frame: wire.Frame) -> bool:
        """Look whether an answer is pending; return False if none may be."""
        if frame[0] in (wire.RESPONSE, wire.ERROR) and frame[1].get("pending") is True:
            self.idle = self._loop.create_future()
            return self._may_pend
        return True

    def _rest(self) -> None:
        self._small_reads = 0
        self._loop.remove_reader(self._sock)
        self._resting = self._loop.call_later(self.pace.next_rest_s(), self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.pace.resting -= 1
        self._go_on()

    def _resume(self) -> None:
        self._full = False
        self._go_on()

    def _go_on(self) -> None:
        """Take what a turn has left, then read again; unless that calls for the next pause."""
        if self._left_over and self._watching and not self.paused:
            self._turn(b"")
        if self._watching and not self.paused:
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
            self._drop_unpassed()
            if self._resting is not None:
                self._resting.cancel()
                self._resting = None
                self.pace.resting -= 1
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
