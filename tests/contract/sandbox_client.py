"""How tests speak to an instance: scripts in, answers out."""

import asyncio
import contextlib
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samovar.guest import wire
from samovar.model.instance import InstanceId
from samovar.ports import SandboxInstance, SandboxSpec
from samovar.sandbox.process.driver import ProcessSandbox
from tests.traces import traces_of

LOOP = {"loop_module": "script_loop", "loop_path": Path(__file__).parent}
RUNTIME = "python3.11"
LIMIT_S = 20.0

_ids = itertools.count()


class ScriptError(Exception):
    """A script in an instance raised: the type and the message."""


@dataclass
class Client:
    """One instance that runs scripts."""

    instance: SandboxInstance

    def __post_init__(self) -> None:
        self._reader = wire.FrameReader()

    async def send(self, kind: int, meta: dict[str, Any] | None = None, body: bytes = b"") -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.instance.channel, wire.encode(kind, meta, body))

    async def frame(self) -> wire.Frame:
        """The next frame; EOFError when the channel ends."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    data = await asyncio.get_running_loop().sock_recv(self.instance.channel, 65536)
                except ConnectionResetError:
                    data = b""
                if not data:
                    raise EOFError
                for frame in self._reader.feed(data):
                    return frame

    async def init(self, **env: str) -> None:
        await self.send(wire.INIT, {"env": env})
        assert (await self.frame())[0] == wire.READY

    async def run(self, script: str) -> Any:
        """Run a script in the instance; return what it left in `answer`."""
        await self.send(wire.INVOKE, None, script.encode())
        kind, meta, body = await self.frame()
        if kind == wire.ERROR:
            raise ScriptError(f"{meta['type']}: {meta['message']}")
        return json.loads(body)

    async def exit(self) -> Any:
        """Wait for its end; return how."""
        async with asyncio.timeout(LIMIT_S):
            return await asyncio.shield(self.instance.exited)

    def output(self) -> str:
        """What it has printed so far."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self.instance.output_fd, 1 << 20).decode()
        return ""


async def eventually(look: Callable[[], Any], good: Callable[[Any], bool] = bool) -> Any:
    """Look until what is seen is good; return it. AssertionError at the deadline."""
    deadline = asyncio.get_running_loop().time() + LIMIT_S
    while not good(seen := look()):
        assert asyncio.get_running_loop().time() < deadline, seen
        await asyncio.sleep(0.005)
    return seen


def sleepers(sandbox: ProcessSandbox, seconds: str) -> set[int]:
    """The processes below a sandbox's supervisor that run `sleep` with this argument."""
    found = set()
    for pid, _ in traces_of(sandbox.supervisor_pid or 0).processes:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:2] == [
                b"sleep",
                seconds.encode(),
            ]:
                found.add(pid)
    return found


def spec(code: Path, **changes: Any) -> SandboxSpec:
    fields = {
        "instance_id": InstanceId(f"instance-{next(_ids)}"),
        "runtime": RUNTIME,
        "code_dir": code,
        "memory_mib": 128,
        "vcpus": 0.5,
        "ephemeral_storage_mib": 512,
    }
    return SandboxSpec(**(fields | changes))


@contextlib.asynccontextmanager
async def running(sandbox: ProcessSandbox, code: Path, **changes: Any) -> AsyncIterator[Client]:
    """An instance, initialised; stopped at the end."""
    instance = await sandbox.start(spec(code, **changes))
    try:
        client = Client(instance)
        await client.init()
        yield client
    finally:
        await instance.stop()


@contextlib.asynccontextmanager
async def opened(data_dir: Path, **settings: Any) -> AsyncIterator[ProcessSandbox]:
    """An open sandbox whose instances run scripts."""
    sandbox = ProcessSandbox(data_dir, **({"blanks": 2, **LOOP} | settings))
    await sandbox.open()
    try:
        yield sandbox
    finally:
        await sandbox.close()
