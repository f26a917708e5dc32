"""The phases of a bridged instance: init, invocations, rest; and who takes part in them.

How this works. A *part* is somebody whom the instance waits for: the runtime, and each extension.
It is at work from the time it joins, and at each invocation, until it asks for what comes next.

    all parts at rest, the first time     READY
    INVOKE                                every part is at work; `on_invoke` is called
    `stream`                              HEAD, and what is written to it as PARTs
    `answer`, `fail`                      RESPONSE or ERROR; `on_answer` is called
    all parts at rest after that          IDLE, if the answer went before

The worker sends one INVOKE at a time, and none before READY.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from samovar.guest.response_stream import ResponseStream
from samovar.guest.runtime_documents import document
from samovar.guest.wire import (
    ERROR,
    IDLE,
    INIT_ERROR,
    INVOKE,
    READY,
    REPORT,
    RESPONSE,
    SHUTDOWN,
    ProtocolError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.guest.wire import Meta
    from samovar.guest.worker_link import WorkerLink


class Part:
    """Somebody whom the instance waits for."""

    def __init__(self, phases: Phases, is_runtime: bool) -> None:
        self._phases = phases
        self.is_runtime = is_runtime

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
        self.ready = False
        """Whether init is over."""
        self._idle_due = False
        self.over = False
        """Whether the instance is ending: it is not at rest any more, whoever asks for more."""
        self._stream: ResponseStream | None = None
        """Of the newest invocation, if its response is one."""
        self.unanswered: str | None = None
        """The id of the invocation that is owed an answer."""
        self.on_ready: list[Callable[[Meta], None]] = []
        """Called with READY's meta, to add to it."""
        self.on_invoke: list[Callable[[Meta, bytes | bytearray], None]] = []
        self.before_answer: list[Callable[[], None]] = []
        """Called before the last frame of an answer is sent."""
        self.on_answer: list[Callable[[str, int], None]] = []
        """Called next, with the type of the error or "", and the bytes that were produced."""
        self.on_runtime_rest: list[Callable[[], None]] = []
        self.on_report: list[Callable[[Meta], None]] = []
        self.on_shutdown: list[Callable[[Meta], None]] = []

    @property
    def at_rest(self) -> bool:
        """Whether the worker may send an INVOKE."""
        return self.ready and not self._at_work and not self.unanswered

    def join(self, *, is_runtime: bool = False) -> Part:
        """A new part, at work."""
        part = Part(self, is_runtime)
        self._parts.add(part)
        self._at_work.add(part)
        return part

    def forget_work_of(self, part: Part) -> None:
        """See `Part.rest`."""
        if part.is_runtime and part in self._at_work:
            for on_runtime_rest in self.on_runtime_rest:
                on_runtime_rest()
        self._at_work.discard(part)
        if self._at_work or self.over:
            return
        if not self.ready:
            self.ready = True
            meta: Meta = {"init_ms": (time.perf_counter() - self._begun) * 1e3}
            for on_ready in self.on_ready:
                on_ready(meta)
            self._link.send(READY, meta)
        elif self._idle_due:
            self._idle_due = False
            self._link.send(IDLE)

    def forget(self, part: Part) -> None:
        """See `Part.leave`."""
        self._parts.discard(part)
        self.forget_work_of(part)

    def fail_init(self, text: bytes | bytearray) -> None:
        """Init has failed, with this error document."""
        self._link.send(INIT_ERROR, None, text)

    def stream(self, content_type: str | None) -> ResponseStream:
        """The invocation's response begins, and comes in pieces; `answer` or `fail` ends it."""
        self._stream = ResponseStream(self._link, content_type)
        return self._stream

    def answer(self, body: bytes | bytearray = b"", resting: Part | None = None) -> None:
        """The invocation's whole response; without a body, the end of a stream. `resting`: a part
        that with this is at rest."""
        self._answer(RESPONSE, {}, body, resting)

    def fail(self, error_type: str, text: bytes | bytearray, resting: Part | None = None) -> None:
        """The invocation has failed, with this error document, be it in the midst of a stream."""
        self._answer(ERROR, {"type": error_type}, text, resting)

    def fault(self, error_type: str, message: str) -> None:
        """The instance has failed, and with it the invocation, if one is owed an answer."""
        self.over = True
        if self.unanswered:
            text = f"RequestId: {self.unanswered} Error: {message}"
            meta: Meta = {"type": error_type, "fault": message}
            self._answer(ERROR, meta, document(error_type, text), None)

    def _answer(self, kind: int, meta: Meta, body: bytes | bytearray, resting: Part | None) -> None:
        self.unanswered = None
        for before_answer in self.before_answer:
            before_answer()
        produced_bytes = self._stream.written_bytes if self._stream else len(body)
        for on_answer in self.on_answer:
            on_answer(meta.get("type", ""), produced_bytes)
        if resting:
            resting.rest()
        if self._at_work or self.over:
            # The client is not to wait for what the program does before it asks for the next one.
            self._idle_due = meta["pending"] = True
        self._link.send(kind, meta, body)

    def take_frame(self, kind: int, meta: Meta, body: bytes | bytearray) -> None:
        """A frame after INIT. Raises `ProtocolError`."""
        if kind == INVOKE:
            self._at_work = set(self._parts)
            self.unanswered = meta["id"]
            self._stream = None
            for on_invoke in self.on_invoke:
                on_invoke(meta, body)
        elif kind == REPORT:
            for on_report in self.on_report:
                on_report(meta)
        elif kind == SHUTDOWN:
            for on_shutdown in self.on_shutdown:
                on_shutdown(meta)
        else:
            raise ProtocolError(f"frame of type {kind} where an INVOKE was due")
