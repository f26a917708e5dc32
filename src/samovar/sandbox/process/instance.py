"""One instance of the process sandbox, as the worker holds it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Mapping

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.instance import InstanceId
from samovar.ports import Exit, SandboxSpec, Usage
from samovar.sandbox.process.link import Message
from samovar.sandbox.process.readings import Readings

Send = Callable[[Message], None]

_STOP_LIMIT_S = 20.0
"""A supervisor that has not ended an instance by then is stuck, and ended itself."""


class ProcessInstance:
    """Implements `samovar.ports.SandboxInstance`."""

    id: InstanceId
    channel: socket.socket
    output_fd: int
    exited: asyncio.Future[Exit]
    task_root: str
    layers_root: str | None

    def __init__(
        self,
        spec: SandboxSpec,
        task_root: str,
        layers_root: str | None,
        channel: socket.socket,
        output_fd: int,
        send: Send,
        *,
        catch_up: Callable[[], None],
        give_up: Callable[[], None],
        forget: Callable[[ProcessInstance], None],
    ) -> None:
        self.id = spec.instance_id
        self.channel = channel
        self.output_fd = output_fd
        self.exited = asyncio.get_running_loop().create_future()
        self.task_root = task_root
        self.layers_root = layers_root
        self.directories = spec.code_dir, spec.layers_dir
        self._vcpus = spec.vcpus
        self._send = send
        self._origin = "fork"
        self._pid = 0
        self._readings = Readings({})
        self._peak_bytes = 0
        self._catch_up = catch_up
        self._give_up = give_up
        self._forget = forget
        self._frozen: asyncio.Future[str | None] | None = None
        self._stopping = False
        self._released = False

    @property
    def origin(self) -> str:
        # It is told before the instance can speak, but the event loop may not have got to it.
        if not self.started:
            self._catch_up()
        return self._origin

    @property
    def started(self) -> bool:
        """Whether it has a process."""
        return self._pid != 0

    def on_started(self, origin: str, pid: int, meters: Mapping[str, int]) -> None:
        """It has a process now, and perhaps files that tell what it uses: ours to close."""
        self._origin = origin
        self._pid = pid
        self._readings = Readings(meters, pid)

    def on_told(self, message: Message) -> None:
        """What the supervisor tells of it, once it has a process."""
        if message["ev"] == "frozen":
            self._on_frozen(message["failure"])
        elif message["ev"] == "exit":
            fields = ("code", "signal", "out_of_memory", "failure")
            how = Exit(**{field: message[field] for field in fields if field in message})
            self.on_exit(how, message.get("peak_bytes", 0))

    def on_exit(self, how: Exit, peak_bytes: int = 0) -> None:
        """Nothing of it is left."""
        self._peak_bytes = max(self._peak_bytes, peak_bytes)
        if not self.exited.done():
            self.exited.set_result(how)
        self._on_frozen("the template has ended")
        if self._stopping:
            self.release()

    def peak_memory_bytes(self) -> int:
        """See the port. Without a cgroup: of its first process alone."""
        if not self.started:
            self._catch_up()
        if self.started and not self.exited.done():
            with contextlib.suppress(OSError, ValueError):  # its last process has just gone
                self._peak_bytes = max(self._peak_bytes, self._readings.peak_bytes())
        return self._peak_bytes

    def usage(self) -> Usage:
        """See the port. Without a cgroup: of its first process alone."""
        if self.started and not self.exited.done():
            with contextlib.suppress(OSError, ValueError):  # its last process has just gone
                return self._readings.usage()
        return Usage()

    async def freeze(self) -> None:
        """See the port."""
        if self.exited.done():
            raise PlatformError(ErrorCode.SERVICE, "the template has ended")
        self._frozen = asyncio.get_running_loop().create_future()
        self._send({"op": "freeze", "id": self.id})
        failure = await self._frozen
        if failure is not None:
            raise PlatformError(ErrorCode.INVALID_PARAMETER, failure)

    def _on_frozen(self, failure: str | None) -> None:
        if self._frozen and not self._frozen.done():
            self._frozen.set_result(failure)

    def settle(self) -> None:
        self._send({"op": "settle", "id": self.id, "vcpus": self._vcpus})

    async def stop(self) -> None:
        """See the port."""
        self._stopping = True
        if not self.exited.done():
            self._send({"op": "stop", "id": self.id})
            try:
                async with asyncio.timeout(_STOP_LIMIT_S):
                    await asyncio.shield(self.exited)
            except TimeoutError:
                self._give_up()
                await asyncio.shield(self.exited)
        self.release()

    def release(self) -> None:
        """Close the channel, the output, and what tells of its memory. Idempotent."""
        if self._released:
            return
        self._released = True
        self._forget(self)
        self.channel.close()
        os.close(self.output_fd)
        self._readings.close()
