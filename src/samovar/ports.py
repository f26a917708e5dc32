"""The seams between the roles: Protocols only.

Calls go one way: frontend → manager → placement → worker → sandbox. In one process a port is the
object itself; between processes it is a client with the same Protocol. `wiring.py` decides.
Those of the stores, of sandboxes and of capacity have files of their own, and are to be had here
too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from samovar.capacity import CALM, Need, Placement, Pressure, Refusal, WorkerStatus
from samovar.model.event import Event
from samovar.model.event_source import EventSourceMapping
from samovar.model.function import FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import Initialization, InstanceId, WorkerId
from samovar.model.invocation import Invocation, Outcome, StartReport
from samovar.model.scale import Provisioned, Scale
from samovar.model.tuning import Tuning
from samovar.rule_stores import InvocationRuleStore
from samovar.sandboxes import Exit, Sandbox, SandboxInstance, SandboxSpec, Usage
from samovar.schedule_stores import (
    Firing,
    ScheduleFilter,
    ScheduleGroupStore,
    ScheduleStore,
)
from samovar.stores import (
    CodeStore,
    EventKeeper,
    EventSourceStore,
    EventStore,
    FunctionRecord,
    FunctionStore,
    LayerStore,
    LogStore,
    MadeFor,
    PackageInspector,
    Page,
    PublishBuilder,
    Taken,
    Verdict,
)

__all__ = [  # what is handed on
    "CALM",
    "CodeStore",
    "EventKeeper",
    "EventSourceStore",
    "EventStore",
    "Exit",
    "Firing",
    "FunctionRecord",
    "FunctionStore",
    "InvocationRuleStore",
    "LayerStore",
    "LogStore",
    "MadeFor",
    "Need",
    "PackageInspector",
    "Page",
    "Placement",
    "Pressure",
    "PublishBuilder",
    "Refusal",
    "Sandbox",
    "SandboxInstance",
    "SandboxSpec",
    "ScheduleFilter",
    "ScheduleGroupStore",
    "ScheduleStore",
    "Taken",
    "Usage",
    "Verdict",
    "WorkerStatus",
]

# ---------------------------------------------------------------- worker


@dataclass(frozen=True, slots=True)
class Started:
    """A worker's answer to `start`: the instance is initialised and idle."""

    origin: str
    """`blank`, `fork` or `template`."""
    start_ms: float
    init_ms: float
    """Of the function's own init; of one from a template: of its restore hooks."""


class InitFailedError(Exception):
    """The function's own init failed: `payload` is AWS's error document, `log_tail` its log."""

    def __init__(self, payload: bytes, log_tail: bytes = b"") -> None:
        super().__init__(payload.decode(errors="replace"))
        self.payload = payload
        self.log_tail = log_tail


class ResponseSink(Protocol):
    """Takes a response as it is streamed; one that is not is in the outcome's payload. Where its
    client has gone, it throws the rest away and does not raise. Cancelled: the response failed."""

    async def begin(self, content_type: str | None) -> None: ...

    async def write(self, part: bytes) -> None:
        """Take the next bytes; returns when there is room for more."""
        ...


class Worker(Protocol):
    """Owns one machine. It has the last word on admission."""

    def status(self) -> WorkerStatus:
        """What placement decides by."""
        ...

    async def prepare(self, version: FunctionVersion) -> None:
        """Fetch and unpack the code, make the runtime ready; of a version that is snapshotted,
        make its template. Raises `PlatformError`, and `InitFailedError` where that init fails."""
        ...

    def forget(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """Drop the templates of `version` other than `current` (None: all). Does not wait."""
        ...

    async def start(
        self,
        instance: InstanceId,
        version: FunctionVersion,
        initialization: Initialization = Initialization.ON_DEMAND,
    ) -> Started:
        """Start an instance and run its init phase, or fork it from its version's template.

        Raises `InitFailedError` (the function's fault) or `PlatformError` (no room, no runtime,
        the sandbox failed); in both cases nothing of the instance is left. When cancelled, too.
        """
        ...

    async def invoke(
        self, instance: InstanceId, invocation: Invocation, sink: ResponseSink | None = None
    ) -> Outcome:
        """Run one invocation to its end: response, error, crash or timeout. An instance takes as
        many at once as its version's `concurrency`.

        A response that is streamed goes to `sink` as it comes; without one it is gathered into the
        outcome. A sink that takes nothing is waited for until the function's timeout. Where the
        outcome is `pending`, the instance is not free yet: see `await_idle`.

        Raises `PlatformError` only if the instance is not there or not idle, so the invocation
        has not begun. When cancelled, the instance is ended: nobody is left to take its answer. (A
        client that goes away cancels nothing: its invocation runs to its end, as AWS has it.)"""
        ...

    async def crash(self, instance: InstanceId, invocation: Invocation) -> Outcome:
        """As `invoke`, of an instance that is killed as soon as it has been given the event."""
        ...

    async def await_idle(self, instance: InstanceId) -> bool:
        """After a pending outcome: wait until the instance is free, within what is left of the
        function's timeout; return whether it is. If not, it is ended."""
        ...

    async def stop(self, instance: InstanceId, *, in_a_hurry: bool = False) -> None:
        """End an instance; returns when nothing of it is left. Unknown ones are no error.
        `in_a_hurry`: somebody waits for its room, so its extensions have less time to end."""
        ...

    def on_exit(self, callback: Callable[[InstanceId], None]) -> None:
        """Have `callback` called when an instance ends by itself (not by `stop`)."""
        ...

    def on_pressure(self, callback: Callable[[WorkerId], None]) -> None:
        """Have `callback` called when the worker's `Pressure` has changed for the worse or the
        better: `status` has it."""
        ...


# ---------------------------------------------------------------- manager


class Lease(msgspec.Struct, frozen=True):
    """The right to send exactly one invocation to one instance. It ends with its release."""

    instance: InstanceId
    worker: Worker
    version: FunctionVersion
    start: StartReport
    number: int
    """No other lease has it."""


class Manager(Protocol):
    """Owns the instances of each function version."""

    async def acquire(self, version: FunctionVersion, tenant: str | None = None) -> Lease:
        """Wait for the first instance that is free, starting one where needed. An instance that
        has served a `tenant` serves no other one, and nothing without one.

        Raises `PlatformError` TOO_MANY_REQUESTS (with AWS's reason) over a limit or where no
        worker has room, UNAVAILABLE while draining, and `InitFailedError`. When cancelled, the
        request leaves the queue."""
        ...

    def release(self, lease: Lease, outcome: Outcome | None) -> None:
        """Give an instance back; `None` when it is not known whether it can be used again. A lease
        that has ended already has no effect."""
        ...

    async def prepare(self, version: FunctionVersion) -> None:
        """Make a new version ready to start. Raises `PlatformError`."""
        ...

    def supersede(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """Stop instances of `version` other than `current` (None: all) as they become idle."""
        ...

    def renew(self, version: FunctionVersion) -> None:
        """Requests that come from now on are served by instances that start after this; those that
        are idle are stopped now, the others as they are released."""
        ...

    def set_reserved_concurrency(self, function: FunctionId, limit: int | None) -> None:
        """Enforce a function's reserved concurrency from now on; None removes it."""
        ...

    def set_scale(self, version: FunctionVersion, scale: Scale) -> None:
        """Keep so many instances of a version, from now on. Raises `PlatformError`
        INVALID_PARAMETER where the limits do not allow for it."""
        ...

    def provisioned(self, version: FunctionVersion) -> Provisioned:
        """How far a version's provisioned concurrency has come."""
        ...

    def tune(self, function: FunctionId, tuning: Tuning) -> None:
        """How a function's instances are kept and filled, from now on."""
        ...

    async def drain(self, timeout_s: float) -> None:
        """Refuse new requests, let running ones finish within `timeout_s`, stop everything."""
        ...


# ---------------------------------------------------------------- invoking and events


class Invoked(msgspec.Struct, frozen=True):
    """An outcome, and what the answer's headers tell about it."""

    outcome: Outcome
    version: FunctionVersion
    start: StartReport


class Invoker(Protocol):
    """From a function's name to an outcome: for those who invoke on behalf of events."""

    async def resolve(self, function: FunctionId, qualifier: str | None) -> FunctionVersion:
        """The version to run now, ready to run. Raises NOT_FOUND or CONFLICT."""
        ...

    async def invoke(
        self, version: FunctionVersion, invocation: Invocation, sink: ResponseSink | None = None
    ) -> Invoked:
        """Run one invocation. Raises `PlatformError` where it could not begin."""
        ...


class EventQueue(Protocol):
    """Takes events; the events role brings each to its target, at least once."""

    async def accept(self, *events: Event) -> None:
        """Keep events; durable on return, all of them or none. Raises `PlatformError`
        TOO_MANY_REQUESTS where their queue is full. An id that is there already is the same event,
        and is kept once."""
        ...


class EventSources(Protocol):
    """Polls event sources, on behalf of the mappings in the store."""

    async def check(self, mapping: EventSourceMapping, version: FunctionVersion) -> None:
        """Raise `PlatformError` INVALID_PARAMETER for a mapping that cannot be polled: no endpoint
        is configured, its source is not there, a filter is no pattern. Bounded in time."""
        ...

    def changed(self) -> None:
        """The mappings in the store have changed. Does not wait."""
        ...
