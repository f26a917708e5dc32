"""The bridge's end of the channel: frames to and from the worker, of which none is waited for.

How this works. `guest.channel` serves a loop that has nothing else to do; a bridge has clients
besides, and the worker stops reading while whoever takes a streamed answer is slow. So what the
worker has not read yet is kept here. A frame is always taken; who has much to say looks at
`has_room` before, and waits with `when_room`. That bounds what is kept: a whole answer (6 MB), or
what one client could put into it of a stream at once.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from typing import TYPE_CHECKING

from samovar.guest.channel import ChannelClosedError
from samovar.guest.wire import (
    HEADER,
    LANE,
    MAX_BODY_BYTES,
    MAX_META_BYTES,
    RECV_BYTES,
    ProtocolError,
    receive_descriptors,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.guest.reactor import Callback, Reactor
    from samovar.guest.wire import Meta

    OnFrame = Callable[[int, Meta, bytes | bytearray], None]

ROOM_BYTES = 256 * 1024
"""How much may be unread by the worker before there is no room."""

_SMALL_BYTES = 64 * 1024
"""Up to here a copy into one buffer is cheaper than a second system call."""

_received = memoryview(bytearray(RECV_BYTES))
"""To allocate so much for each call costs more than the call."""


class WorkerLink:
    """Calls `on_frame(kind, meta, body)` for each frame, with a body that is the callee's own.

    What the reactor calls here raises `ChannelClosedError` when the worker has closed the channel
    and `ProtocolError` where it is out of its mind; nobody is to catch them but who ends the
    instance."""

    def __init__(self, sock: socket.socket, reactor: Reactor, on_frame: OnFrame) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reactor = reactor
        self.on_frame = on_frame
        """May be replaced."""
        self._incoming = bytearray()
        self._body: bytearray | None = None
        """Of a frame that is longer than what came with its head: filled in place, since an event
        may be 6 MB in an instance of 128 MiB."""
        self._body_at = 0
        self._frame: tuple[int, Meta] = (0, {})
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._muted = self._hangs_up = False
        self._waiting: list[Callback] = []
        self._on_lane: Callable[[WorkerLink], None] | None = None
        self._fds: deque[int] = deque()
        """Of lanes whose frames have not been read to their ends."""
        reactor.watch(sock, self._readable)

    def take_lanes(self, on_lane: Callable[[WorkerLink], None]) -> None:
        """Call this with each lane that comes, from now on."""
        self._on_lane = on_lane

    # ------------------------------------------------------------ to the worker

    @property
    def has_room(self) -> bool:
        """Whether the worker keeps up."""
        return self._unsent_bytes < ROOM_BYTES

    @property
    def flushed(self) -> bool:
        """Whether all has been handed over."""
        return not self._unsent

    def when_room(self, callback: Callback) -> None:
        """Call once, as soon as there is room again; at once if there is."""
        if self.has_room:
            callback()
        else:
            self._waiting.append(callback)

    def send(self, kind: int, meta: Meta | None = None, body: bytes | bytearray = b"") -> None:
        """Send a frame, sooner or later. `body` is not to be changed any more."""
        if self._muted:
            return
        text = json.dumps(meta).encode() if meta else b""
        head = HEADER.pack(kind, len(text), len(body)) + text
        blocked = bool(self._unsent)
        if len(body) <= _SMALL_BYTES:
            self._add(head + body)
        else:
            self._add(head)
            self._add(body)
        if not blocked:
            self._flush()

    def mute(self) -> None:
        """The last word has been said: what is sent from now on is dropped."""
        self._muted = True

    def hang_up(self) -> None:
        """The same; the worker learns it from the channel's end, after what is unsent."""
        self._muted = self._hangs_up = True
        if self.flushed:
            self._shut()

    def _shut(self) -> None:
        self._reactor.unwatch(self._sock)
        self._sock.shutdown(socket.SHUT_RDWR)

    def _add(self, data: bytes | bytearray) -> None:
        self._unsent.append(memoryview(data))
        self._unsent_bytes += len(data)

    def _flush(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                sent = self._sock.send(unsent[0])
                self._unsent_bytes -= sent
                if sent < len(unsent[0]):
                    unsent[0] = unsent[0][sent:]
                else:
                    unsent.popleft()
        except BlockingIOError:
            self._reactor.watch(self._sock, self._readable, self._writable)
        except OSError as error:
            raise ChannelClosedError from error

    def _writable(self) -> None:
        self._flush()
        if self.flushed and self._hangs_up:
            self._shut()
        elif self.flushed:
            self._reactor.watch(self._sock, self._readable)
        if self.has_room:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()

    # ------------------------------------------------------------ from the worker

    def _readable(self) -> None:
        try:
            if self._body is not None:
                with memoryview(self._body) as view:
                    count = self._sock.recv_into(view[self._body_at :])
                self._body_at += count
            else:
                count = self._receive()
        except BlockingIOError:
            return
        except OSError as error:
            raise ChannelClosedError from error
        if not count:
            raise ChannelClosedError
        if self._body is None:
            while self._take_frame():
                pass
        elif self._body_at == len(self._body):
            self._finish_body()

    def _receive(self) -> int:
        if self._on_lane is None:
            count = self._sock.recv_into(_received)
            self._incoming += _received[:count]
            return count
        data, fds = receive_descriptors(self._sock)
        self._incoming += data
        self._fds.extend(fds)
        return len(data)

    def _take_frame(self) -> bool:
        incoming = self._incoming
        if len(incoming) < HEADER.size:
            return False
        kind, meta_bytes, body_bytes = HEADER.unpack_from(incoming)
        if meta_bytes > MAX_META_BYTES or body_bytes > MAX_BODY_BYTES:
            raise ProtocolError(f"frame of {meta_bytes} + {body_bytes} bytes")
        body_at = HEADER.size + meta_bytes
        if len(incoming) < body_at:
            return False
        meta: Meta = json.loads(incoming[HEADER.size : body_at]) if meta_bytes else {}
        end = body_at + body_bytes
        if len(incoming) < end:
            self._frame = kind, meta
            self._body_at = len(incoming) - body_at
            self._body = bytearray(body_bytes)
            self._body[: self._body_at] = incoming[body_at:]
            incoming.clear()
            return False
        body = bytes(incoming[body_at:end])
        del incoming[:end]
        if kind == LANE and self._on_lane and self._fds:
            lane = socket.socket(fileno=self._fds.popleft())
            self._on_lane(WorkerLink(lane, self._reactor, self.on_frame))
        else:
            self.on_frame(kind, meta, body)
        return True

    def _finish_body(self) -> None:
        body, self._body = self._body, None
        assert body is not None
        self.on_frame(*self._frame, body)
