"""What an instance of the fake sandbox does when it has read a frame."""

from __future__ import annotations

import json
from dataclasses import dataclass

from samovar.guest import wire
from samovar.ports import Exit


@dataclass(frozen=True, slots=True)
class Reaction:
    """What an instance does when it has read a frame, in this order. Empty: it never answers."""

    output: bytes = b""
    """To its stdout."""
    send: bytes = b""
    """To its channel: a frame, several, or anything else."""
    hang_up: bool = False
    """Close the channel and live on."""
    exit: Exit | None = None
    """End."""


NOTHING = Reaction()


def ready(init_ms: float = 1.0, *, output: bytes = b"") -> Reaction:
    """Init is over."""
    return Reaction(output, wire.encode(wire.READY, {"init_ms": init_ms}))


def extended(shutdown_ms: object = 2_000) -> Reaction:
    """Init is over, and the instance wants to be told of its end."""
    meta = {"init_ms": 1.0, "shutdown": True, "shutdown_ms": shutdown_ms}
    return Reaction(send=wire.encode(wire.READY, meta))


def init_error(kind: str, message: str = "", *, output: bytes = b"") -> Reaction:
    """Init failed: AWS's document, and the end that follows it."""
    frame = wire.encode(wire.INIT_ERROR, None, _document(kind, message))
    return Reaction(output, frame, exit=Exit(code=1))


def respond(body: bytes, *, output: bytes = b"") -> Reaction:
    """The handler returned."""
    return Reaction(output, wire.encode(wire.RESPONSE, None, body))


def fail(kind: str, message: str = "", *, output: bytes = b"") -> Reaction:
    """The handler raised."""
    return Reaction(output, wire.encode(wire.ERROR, {"type": kind}, _document(kind, message)))


def end(
    *,
    code: int | None = None,
    signal: int | None = None,
    out_of_memory: bool = False,
    failure: str | None = None,
    output: bytes = b"",
) -> Reaction:
    """End without an answer; the parameters are those of `Exit`."""
    return Reaction(output, exit=Exit(code, signal, out_of_memory, failure))


def _document(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


READY = ready()


def echo(meta: wire.Meta, body: bytes) -> Reaction:
    """Respond with the event."""
    return respond(body)


LEAVE = end(code=0)
