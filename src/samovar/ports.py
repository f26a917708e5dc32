"""The seams between the roles: Protocols only.

Calls go one way: frontend → manager → placement → worker → sandbox. In one process a port is the
object itself; between processes it is a client with the same Protocol. `wiring.py` decides.
Those of the stores have a file of their own, and are to be had here too.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from samovar.model.event import Event
from samovar.model.event_source import EventSourceMapping
from samovar.model.function import FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import InstanceId, WorkerId
from samovar.model.invocation import Invocation, Outcome, StartReport
from samovar.model.isolation import Isolation
from samovar.rule_stores import InvocationRuleStore
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
    "CodeStore",
    "EventKeeper",
    "EventSourceStore",
    "EventStore",
    "Firing",
    "FunctionRecord",
    "FunctionStore",
    "InvocationRuleStore",
    "LayerStore",
    "LogStore",
    "MadeFor",
    "PackageInspector",
    "Page",
    "PublishBuilder",
    "ScheduleFilter",
    "ScheduleGroupStore",
    "ScheduleStore",
    "Taken",
    "Verdict",
]

# ---------------------------------------------------------------- sandbox


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What a sandbox needs to know of an instance. Secrets and handlers are not among it:
    they go over the channel."""

    instance_id: InstanceId
    runtime: str
    """`python3.11`, …: an entry of the driver's runtimes."""
    code_dir: Path
    """The unpacked code, mounted read-only at /var/task."""
    memory_mib: int
    vcpus: float
    ephemeral_storage_mib: int
    layers_dir: Path | None = None
    """Its layers, merged into one tree, mounted read-only at /opt; None: it has no layers."""
    bridged: bool = False
    """Run it as a program that speaks the Runtime API, though its runtime has a loop of its own."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How an instance ended. Exactly one of `code`, `signal` and `failure` is set."""

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    failure: str | None = None
    """It never came to run: why."""


class SandboxInstance(Protocol):
    """One isolated instance, from its start to its end."""

    id: InstanceId
    channel: socket.socket
    """Non-blocking stream socket to the runtime loop: frames of `samovar.guest.wire`."""
    output_fd: int
    """Non-blocking read end of the pipe that is the instance's stdout and stderr."""
    exited: asyncio.Future[Exit]
    """Done when no process of the instance is left. Never fails, never cancelled by callers."""
    task_root: str
    """Where the instance itself sees its code: `/var/task`, or the host's path without MOUNTS."""
    layers_root: str | None
    """Where it sees its layers: `/opt`, or the host's path without MOUNTS; None: it has none."""

    @property
    def origin(self) -> str:
        """`blank` or `fork`; valid once the instance has spoken on its channel."""
        ...

    def peak_memory_bytes(self) -> int:
        """The most memory that the instance has used so far. 0 where it cannot be known."""
        ...

    def settle(self) -> None:
        """Init is over: from now on CPU share follows memory. Does not wait."""
        ...

    async def stop(self) -> None:
        """Kill every process of the instance, wait until all of it is gone, release what it held
        (channel and output too). Idempotent. Cancelling it does not keep it alive."""
        ...


class Sandbox(Protocol):
    """A driver. Instances of different drivers differ in isolation, not in behaviour."""

    isolation: Isolation
    """Valid after `open`."""
    runtimes: Mapping[str, str]
    """Runtimes that this machine can run → what runs them (a path). Valid after `open`."""

    async def open(self) -> None:
        """Find out what the machine allows, clear what an earlier life left, make ready.

        Raises `PlatformError` when a demanded layer cannot be had."""
        ...

    async def prepare(self, runtime: str, *, bridged: bool = False) -> None:
        """Make starts of this runtime fast (zygote up, blanks waiting); `bridged` as in
        `SandboxSpec`. Idempotent."""
        ...

    async def start(self, spec: SandboxSpec) -> SandboxInstance:
        """Begin an instance; return as soon as its channel can be written to."""
        ...

    async def close(self) -> None:
        """Stop every instance and leave nothing behind."""
        ...


# ---------------------------------------------------------------- worker


@dataclass(frozen=True, slots=True)
class Started:
    """A worker's answer to `start`: the instance is initialised and idle."""

    origin: str
    start_ms: float
    init_ms: float


class InitFailedError(Exception):
    """The function's own init failed: `payload` is AWS's error document, `log_tail` its log."""

    def __init__(self, payload: bytes, log_tail: bytes = b"") -> None:
        super().__init__(payload.decode(errors="replace"))
        self.payload = payload
        self.log_tail = log_tail


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker as placement sees it: capacity and what it has."""

    id: WorkerId
    memory_mib: int
    """What it may give to instances in all (real memory × oversubscription ratio)."""
    free_memory_mib: int
    isolation: Isolation
    runtimes: frozenset[str]
    warm_code: frozenset[str] = frozenset()
    """sha256 of the code packages that are unpacked on it."""
    draining: bool = False


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
        """Fetch and unpack the code, make the runtime ready. Raises `PlatformError`."""
        ...

    async def start(self, instance: InstanceId, version: FunctionVersion) -> Started:
        """Start an instance and run its init phase.

        Raises `InitFailedError` (the function's fault) or `PlatformError` (no room, no runtime,
        the sandbox failed); in both cases nothing of the instance is left. When cancelled, too.
        """
        ...

    async def invoke(
        self, instance: InstanceId, invocation: Invocation, sink: ResponseSink | None = None
    ) -> Outcome:
        """Run one invocation to its end: response, error, crash or timeout.

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


# ---------------------------------------------------------------- placement


@dataclass(frozen=True, slots=True)
class Need:
    """What an instance needs of a worker."""

    runtime: str
    memory_mib: int
    code_sha256: str


class Placement(Protocol):
    """Owns capacity."""

    def place(self, need: Need, workers: Sequence[WorkerStatus]) -> WorkerId | None:
        """Return the worker to start on, or None where none has room."""
        ...


# ---------------------------------------------------------------- manager


class Lease(msgspec.Struct, frozen=True):
    """The right to send exactly one invocation to one instance."""

    instance: InstanceId
    worker: Worker
    version: FunctionVersion
    start: StartReport


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
        """Give an instance back; `None` when it is not known whether it can be used again."""
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
