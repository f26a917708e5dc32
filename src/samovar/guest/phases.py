"""The phases of a bridged instance: init, invocations, rest; and who takes part in them.

How this works. A *part* is somebody whom the instance waits for: the runtime, and each extension.
It is at work from the time it joins, and at each invocation, until it asks for what comes next.

    all parts at rest, the first time     READY
    INVOKE                                every part is at work; `on_invoke` is called
    `answer`                              RESPONSE or ERROR; `on_answer` is called

The worker sends one INVOKE at a time, and none before READY.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from samovar.guest.wire import ERROR, INIT_ERROR, INVOKE, READY, RESPONSE, SHUTDOWN, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.guest.wire import Meta
    from samovar.guest.worker_link import WorkerLink


class Part:
    """Somebody whom the instance waits for."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases

    def rest(self) -> None:
        """It asks for what comes next."""
        self._phases.forget_work_of(self)

    def leave(self) -> None:
        """Nobody waits for it any more."""
        self._phases.forget(self)


class Phases:
    """See the module. Handlers are appended to the `on_…` lists, and called in their order."""

    def __init__(self, link: WorkerLink) -> None:
        self._link = link
        self._begun = time.perf_counter()
        self._parts: set[Part] = set()
        self._at_work: set[Part] = set()
        self._ready = False
        self.on_invoke: list[Callable[[Meta, bytes | bytearray], None]] = []
        self.on_answer: list[Callable[[int, Meta], None]] = []
        """Called with RESPONSE or ERROR, and its meta."""
        self.on_shutdown: list[Callable[[Meta], None]] = []

    def join(self) -> Part:
        """A new part, at work."""
        part = Part(self)
        self._parts.add(part)
        self._at_work.add(part)
        return part

    def forget_work_of(self, part: Part) -> None:
        """See `Part.rest`."""
        self._at_work.discard(part)
        if not self._at_work and not self._ready:
            self._ready = True
            self._link.send(READY, {"init_ms": (time.perf_counter() - self._begun) * 1e3})

    def forget(self, part: Part) -> None:
        """See `Part.leave`."""
        self._parts.discard(part)
        self.forget_work_of(part)

    def fail_init(self, document: bytes | bytearray) -> None:
        """Init has failed, with this error document."""
        self._link.send(INIT_ERROR, None, document)

    def answer(self, body: bytes | bytearray) -> None:
        """The invocation's whole response."""
        self._answer(RESPONSE, {}, body)

    def fail(self, error_type: str, document: bytes | bytearray) -> None:
        """The invocation has failed."""
        self._answer(ERROR, {"type": error_type}, document)

    def _answer(self, kind: int, meta: Meta, body: bytes | bytearray) -> None:
        self._link.send(kind, meta, body)
        for callback in self.on_answer:
            callback(kind, meta)

    def take_frame(self, kind: int, meta: Meta, body: bytes | bytearray) -> None:
        """A frame after INIT. Raises `ProtocolError`."""
        if kind == INVOKE:
            self._at_work = set(self._parts)
            for on_invoke in self.on_invoke:
                on_invoke(meta, body)
        elif kind == SHUTDOWN:
            for on_shutdown in self.on_shutdown:
                on_shutdown(meta)
        else:
            raise ProtocolError(f"frame of type {kind} where an INVOKE was due")
