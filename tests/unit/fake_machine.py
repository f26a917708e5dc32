"""A worker on a fake sandbox: everything of it is real, but for what runs in the instances."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from samovar.model.function import FunctionId, FunctionVersion, LayerRef
from samovar.model.instance import InstanceId, WorkerId
from samovar.model.invocation import Invocation, Outcome
from samovar.sandbox.fake import Behaviour, FakeInstance, FakeSandbox
from samovar.store.objects import ObjectCodeStore
from samovar.worker.capacity import Capacity
from samovar.worker.code_cache import CodeCache
from samovar.worker.worker import LocalWorker
from tests.contract.samples import a_version

MEMORY_MIB = 1024
CAPACITY = Capacity(usable_memory_mib=MEMORY_MIB)
ID = InstanceId("i-1")
REQUEST_ID = "11111111-2222-3333-4444-555555555555"


def package(text: str = "def handler(event, context): ...", name: str = "app.py") -> bytes:
    """A zip with one module."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def an_invocation(payload: bytes = b"{}", **more: object) -> Invocation:
    settings: dict[str, object] = {
        "request_id": REQUEST_ID,
        "function_arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        "payload": payload,
        "want_log_tail": True,
    }
    return Invocation(**{**settings, **more})


@dataclass
class RecordedLogs:
    """The part of the `LogStore` port that a worker uses."""

    text: bytes = b""

    def append(self, function: FunctionId, text: bytes) -> None:
        self.text += text


@dataclass
class Machine:
    """A worker, and what a test wants to see of it."""

    worker: LocalWorker
    sandbox: FakeSandbox
    cache: CodeCache
    logs: RecordedLogs
    store: ObjectCodeStore
    version: FunctionVersion
    exits: list[InstanceId] = field(default_factory=list)

    async def idle(self, instance: InstanceId = ID, **changes: object) -> FakeInstance:
        """Start an instance."""
        version = a_version(code=self.version.code, **changes)
        await self.worker.start(instance, version)
        return self.sandbox.instances[instance]

    async def layer(self, text: str, name: str = "python/tea.py") -> LayerRef:
        """Keep a layer's package."""
        return LayerRef(f"arn of {text}", await self.store.put(package(text, name)))

    async def invoke(self, payload: bytes = b"{}", instance: InstanceId = ID) -> Outcome:
        return await self.worker.invoke(instance, an_invocation(payload))

    def leftovers(self) -> dict[str, object]:
        """What is still held of instances; empty when there is none."""
        kept = {
            "memory": self.worker.status().memory_mib - self.worker.status().free_memory_mib,
            "instances": list(self.worker._instances),
            "pins": dict(self.cache._pins),
            "processes": self.sandbox.running(),
        }
        return {what: held for what, held in kept.items() if held}


@contextlib.asynccontextmanager
async def machine(
    tmp_path: Path,
    behaviour: Behaviour | None = None,
    *,
    init_limit_s: float = 10.0,
    capacity: Capacity = CAPACITY,
) -> AsyncIterator[Machine]:
    """A machine for one block; after it nothing may be left."""
    store = ObjectCodeStore.open(tmp_path / "objects")
    code = await store.put(package())
    cache = CodeCache(tmp_path / "cache", store, 1 << 30)
    await cache.open()
    sandbox, logs = FakeSandbox(behaviour), RecordedLogs()
    worker = LocalWorker(WorkerId("w"), sandbox, cache, logs, capacity, init_limit_s)
    built = Machine(worker, sandbox, cache, logs, store, a_version(code=code))
    worker.on_exit(built.exits.append)
    async with worker:
        yield built
    assert built.leftovers() == {}
    await cache.close()
    await sandbox.close()
