"""The channel between a worker and the runtime loop inside an instance: frames on a stream socket.

How this works. Each frame is a fixed header, a small JSON object (`meta`) and a body of bytes:

    type: u8 │ meta length: u32 │ body length: u32 │ meta │ body          (big-endian)

The worker speaks first with one INIT, the loop answers READY or INIT_ERROR; from then on one
INVOKE at a time is answered by one RESPONSE or ERROR:

    INVOKE → RESPONSE | ERROR                          a whole answer
    INVOKE → HEAD → PART … → RESPONSE | ERROR          a streamed one, and how it ended
    … RESPONSE | ERROR with {"pending": true} → IDLE   answered, but still at work for a while

An instance that takes many requests at once is given a channel of its own for each of them, a LANE:
on every one it goes on as above, and the first channel is for what concerns all.

The worker trusts nothing that it reads: `FrameReader` refuses frames over its bounds, and whoever
reads a frame that is out of turn ends the instance. It stops reading while whoever takes a streamed
answer is slow, so a loop must not count on its writes being read at once.

This file is used on both sides, so it is standard library only and runs on every Python that an
instance may have (3.9 and later).
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Meta = dict[str, Any]
Frame = tuple[int, Meta, bytes]

HEADER = struct.Struct("!BII")

INIT = 1
"""worker → loop. meta: {"handler", "task_root", "env": {...}, "runtime", "opt"}; "opt", where
it sees its layers, is left out where it has none; without isolation, "terminal" may name the one
for debuggers. "web", for a web server: its settings (`samovar.model.web`). "concurrency": requests
at once, if more than one. "snapshot": true, where it becomes a template. body: empty."""
READY = 2
"""loop → worker: init is over. meta: {"init_ms"}, as the loop measured it. body: empty.
With {"shutdown": true, "shutdown_ms": N} in it, the loop wants SHUTDOWN before it is ended, and N
milliseconds (of which the worker gives 2,000 at the most); and a REPORT after each invocation."""
INIT_ERROR = 3
"""loop → worker: init failed; the loop exits next. body: AWS's error document (JSON)."""
INVOKE = 4
"""worker → loop. meta: {"id", "arn", "deadline_ms", "client_context", "trace_id", "tenant_id",
"cognito_identity"}; all from "client_context" on only where the invocation has them. body: event.
"""
RESPONSE = 5
"""loop → worker: the handler returned. meta: {} or {"pending": true}. body: its result (JSON);
empty after HEAD: the end of the stream."""
ERROR = 6
"""loop → worker: the handler failed. meta: {"type"}, perhaps "pending". body: AWS's error document
(JSON). After HEAD: the stream failed in its midst. With "fault", a message, the instance has failed
and ends, as far as its extensions let it: the worker tells of it as of the end of a process."""
HEAD = 7
"""loop → worker: a streamed response begins. meta: {"content_type"}, if it has one. body: empty."""
PART = 8
"""loop → worker: the next bytes of a streamed response. meta: empty. body: 1 … `MAX_PART_BYTES`."""
IDLE = 9
"""loop → worker: after an answer with {"pending": true}, the next INVOKE may come. Else empty."""
SHUTDOWN = 10
"""worker → loop, if it asked for it in READY: you will be ended. meta: {"reason": "spindown" |
"timeout" | "failure", "deadline_ms"}. body: empty."""
REPORT = 11
"""worker → loop, if it asked for it in READY: an invocation is over. meta: {"id", "status",
"run_ms", "billed_ms", "memory_mib", "peak_mib"}, perhaps "init_ms" and "error_type": what the
REPORT line of the log says. body: empty."""

LANE = 12
"""worker → loop, with a descriptor: a lane, one more channel of the same instance. It carries what
the first one does between READY and SHUTDOWN where that is the only one: INVOKE and answers, none
of them pending. meta, body: empty. Only after READY, of an instance whose INIT had {"concurrency":
N}, N over 1: it has N of them at the most, and no INVOKE on its first channel."""
RESTORE = 13
"""worker → loop: the first frame of an instance that was forked from a template, in the place of
INIT. meta: {"env": {...}}, what differs from the template's. Answered by READY or INIT_ERROR."""

MAX_META_BYTES = 64 * 1024
MAX_BODY_BYTES = 6 * 1024 * 1024 + 64 * 1024
"""A response over AWS's 6 MB is told apart from a breach of protocol, hence the slack.
A loop that has a larger one sends an ERROR of type Function.ResponseSizeTooLarge instead."""

MAX_PART_BYTES = 64 * 1024
"""A PART over it is refused, as is one without any: it would cost the worker work for nothing."""

RECV_BYTES = 64 * 1024


_SO_PASSRIGHTS = 83
"""Since Linux 6.16."""


def channel_ends() -> tuple[socket.socket, socket.socket]:
    """A new channel: the worker's end, which does not block, and the loop's. `OSError`.

    Nobody can send descriptors to the worker, to be closed by it: that may take long (see
    `samovar.sandbox.process.seccomp`)."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with contextlib.suppress(OSError):
        ours.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    return ours, theirs


def receive_descriptors(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Read from a first channel: bytes, and the descriptors of the LANE frames that begin in them.

    (The kernel ends a read behind the bytes that were sent with a descriptor: one at the most.)"""
    data, fds, _, _ = _recv_fds(sock, RECV_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    return data, fds


# User code shares the module: it may replace what it finds in it.
_recv_fds = socket.recv_fds


class ProtocolError(Exception):
    """The other side broke the protocol."""


def encode(kind: int, meta: Meta | None = None, body: bytes = b"") -> bytes:
    """Return one frame as bytes. `meta` is a dict of JSON values, or None for {}."""
    return frame(kind, json.dumps(meta).encode() if meta else b"", body)


def frame(kind: int, meta: bytes, body: bytes) -> bytes:
    """Return one frame as bytes, of a `meta` that is encoded already."""
    return b"".join((HEADER.pack(kind, len(meta), len(body)), meta, body))


class FrameReader:
    """Turns the bytes of one direction into frames, each when it is asked for."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add bytes; the iterator gives the frames that are whole, oldest first.

        A frame is looked at when the iterator gets there, so that who refuses one has not paid for
        those behind it; frames that were not asked for stay for the next call. The iterator raises
        `ProtocolError` at a header that breaks the bounds, before it waits for what that promises,
        and where meta is not a JSON object."""
        self._buffer += data
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        buffer = self._buffer
        while len(buffer) >= HEADER.size:
            kind, meta_len, body_len = HEADER.unpack_from(buffer)
            if meta_len > MAX_META_BYTES or body_len > MAX_BODY_BYTES:
                raise ProtocolError(f"frame of {meta_len} + {body_len} bytes")
            if kind == PART and (meta_len or not 0 < body_len <= MAX_PART_BYTES):
                raise ProtocolError(f"part of {meta_len} + {body_len} bytes")
            end = HEADER.size + meta_len + body_len
            if len(buffer) < end:
                return
            body_at = HEADER.size + meta_len
            meta = _parse_meta(bytes(buffer[HEADER.size : body_at]))
            body = bytes(buffer[body_at:end])
            del buffer[:end]
            yield kind, meta, body


def _parse_meta(raw: bytes) -> Meta:
    if not raw:
        return {}
    try:
        meta = json.loads(raw)
    except ValueError as error:
        raise ProtocolError("meta is not JSON") from error
    if not isinstance(meta, dict):
        raise ProtocolError("meta is not an object")
    return meta
