"""The phases of a bridged instance: init, invocations, rest; and who takes part in them.

How this works. A *part* is somebody whom the instance waits for: the runtime, and each extension.
It is at work from the time it joins, and at each invocation, until it asks for what comes next.

    all parts at rest, the first time     READY
    INVOKE                                every part is at work; `on_invoke` is called
    `stream`                              HEAD, and what is written to it as PARTs
    `answer`, `fail`                      RESPONSE or ERROR; `on_answer` is called
    all parts at rest after that          IDLE, if the answer went before

The worker sends one INVOKE at a time, and none before READY. Of an instance that takes many
requests at once it sends each on a lane of its own. There nobody is waited for after an answer, and
extensions are not told of invocations (nor does AWS tell them).

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


_IN_PROGRESS = "Runtime.RequestInProgress"


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


class _Owed:
    """An invocation that is owed an answer."""

    def __init__(self, link: WorkerLink) -> None:
        self.link = link
        self.stream: ResponseStream | None = None
        """Its response, if that is one."""


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
        self.takes_many = False
        """Whether many invocations run at once. To be said before anybody joins."""
        self._lanes: list[WorkerLink] = []
        self._owed: dict[str, _Owed] = {}
        """By the ids of their invocations."""
        self.on_ready: list[Callable[[Meta], None]] = []
        """Called with READY's meta, to add to it."""
        self.on_invoke: list[Callable[[Meta, bytes | bytearray], None]] = []
        self.before_answer: list[Callable[[], None]] = []
        """Called before the last frame of an answer is sent."""
        self.on_answer: list[Callable[[str, str, int], None]] = []
        """Called next, with its invocation's id, the type of the error or "", and the bytes that
        were produced."""
        self.on_runtime_rest: list[Callable[[], None]] = []
        self.on_report: list[Callable[[Meta], None]] = []
        self.on_shutdown: list[Callable[[Meta], None]] = []

    @property
    def at_rest(self) -> bool:
        """Whether the worker may send an INVOKE."""
        return self.ready and not self._at_work and not self._owed

    @property
    def unanswered(self) -> list[str]:
        """The ids of the invocations that are owed an answer."""
        return list(self._owed)

    # ------------------------------------------------------------ lanes

    def add_lane(self, lane: WorkerLink) -> None:
        """One more invocation may come, over this one."""
        lane.on_frame = lambda kind, meta, body: self._take_invocation(lane, kind, meta, body)
        self._lanes.append(lane)

    @property
    def has_room(self) -> bool:
        """Whether the worker keeps up, on whatever link."""
        return all(link.has_room for link in self._links())

    @property
    def flushed(self) -> bool:
        """Whether all has been handed over to it."""
        return all(link.flushed for link in self._links())

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call once, when there may be room again; at once if there is."""
        full = [link for link in self._links() if not link.has_room]
        (full or [self._link])[0].when_room(callback)

    def mute(self) -> None:
        """The last word has been said, on every link."""
        for link in self._links():
            link.mute()

    def _links(self) -> list[WorkerLink]:
        return [self._link, *self._lanes]

    # ------------------------------------------------------------ parts

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

    # ------------------------------------------------------------ answers

    def stream(self, request_id: str, content_type: str | None) -> ResponseStream:
        """An invocation's response begins, and comes in pieces; `answer` or `fail` ends it."""
        owed = self._owed.get(request_id) or _Owed(self._link)  # which is muted
        owed.stream = ResponseStream(owed.link, content_type)
        return owed.stream

    def answer(
        self, request_id: str, body: bytes | bytearray = b"", resting: Part | None = None
    ) -> None:
        """An invocation's whole response; without a body, the end of a stream. `resting`: a part
        that with this is at rest."""
        self._answer(request_id, RESPONSE, {}, body, resting)

    def fail(
        self,
        request_id: str,
        error_type: str,
        text: bytes | bytearray,
        resting: Part | None = None,
    ) -> None:
        """An invocation has failed, with this error document, be it in the midst of a stream."""
        self._answer(request_id, ERROR, {"type": error_type}, text, resting)

    def fault(self, error_type: str, message: str) -> None:
        """The instance has failed, and with it the invocations that are owed an answer."""
        self.over = True
        for request_id in self.unanswered:
            text = f"RequestId: {request_id} Error: {message}"
            meta: Meta = {"type": error_type, "fault": message}
            self._answer(request_id, ERROR, meta, document(error_type, text), None)

    def _answer(
        self, request_id: str, kind: int, meta: Meta, body: bytes | bytearray, resting: Part | None
    ) -> None:
        owed = self._owed.pop(request_id, None)
        if owed is None:
            return  # it has been failed meanwhile, with its instance
        for before_answer in self.before_answer:
            before_answer()
        produced_bytes = owed.stream.written_bytes if owed.stream else len(body)
        for on_answer in self.on_answer:
            on_answer(request_id, meta.get("type", ""), produced_bytes)
        if resting:
            resting.rest()
        if (self._at_work or self.over) and not self.takes_many:
            # The client is not to wait for what the program does before it asks for the next one.
            self._idle_due = meta["pending"] = True
        owed.link.send(kind, meta, body)

    # ------------------------------------------------------------ frames

    def take_frame(self, kind: int, meta: Meta, body: bytes | bytearray) -> None:
        """A frame after INIT. Raises `ProtocolError`."""
        if kind == INVOKE and not self.takes_many:
            self._at_work = set(self._parts)
            self._take_invocation(self._link, kind, meta, body)
        elif kind == REPORT:
            for on_report in self.on_report:
                on_report(meta)
        elif kind == SHUTDOWN:
            for on_shutdown in self.on_shutdown:
                on_shutdown(meta)
        else:
            raise ProtocolError(f"frame of type {kind} where an INVOKE was due")

    def _take_invocation(
        self, link: WorkerLink, kind: int, meta: Meta, body: bytes | bytearray
    ) -> None:
        if kind != INVOKE:
            raise ProtocolError(f"frame of type {kind} on a lane")
        if meta["id"] in self._owed:  # an event that is delivered twice, as it may be
            message = "A request of this id is under way in this instance"
            link.send(ERROR, {"type": _IN_PROGRESS}, document(_IN_PROGRESS, message))
            return
        self._owed[meta["id"]] = _Owed(link)
        for on_invoke in self.on_invoke:
            on_invoke(meta, body)
