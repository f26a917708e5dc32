"""The seam between a worker and its sandbox driver: Protocols only.

An instance may be *forked from a template*: an instance of the same version that has run its init
and then serves nothing but as what others begin from (SnapStart).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from samovar.model.instance import InstanceId
from samovar.model.isolation import Isolation


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
    is_template: bool = False
    """It will be forked once its init is over, and never be invoked itself."""
    template: InstanceId | None = None
    """Fork this one, which has answered READY; else it begins anew."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How an instance ended. Exactly one of `code`, `signal` and `failure` is set."""

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    failure: str | None = None
    """It never came to run: why."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What an instance uses of the machine."""

    memory_bytes: int = 0
    """In use now, pages that it shares with its zygote or template not counted."""
    cpu_s: float = 0.0
    """Processor time since it began."""


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
        """`blank`, `fork` or `template`; valid once the instance has spoken on its channel."""
        ...

    def peak_memory_bytes(self) -> int:
        """The most memory that the instance has used so far. 0 where it cannot be known."""
        ...

    def usage(self) -> Usage:
        """What it uses now. Zeros where that cannot be known. Cheap: it is asked often."""
        ...

    async def freeze(self) -> None:
        """Make a template, which has answered READY, what others are forked from: it is as it is
        now, runs no more, and its channel ends. Raises `PlatformError` INVALID_PARAMETER where it
        can't be forked as it is, saying why; it is then to be stopped."""
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
    snapshots: str | None
    """Why there can be no templates here; None: there can. Valid after `open`."""

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

    def memory_bytes(self) -> int:
        """What all instances together use of the machine's memory, those that wait for code
        included. Cheap: it is asked often."""
        ...

    async def blanks(self) -> int:
        """How many isolated processes wait for code. 0 where that cannot be known soon."""
        ...

    async def close(self) -> None:
        """Stop every instance and leave nothing behind."""
        ...
