"""Ways to try to escape: the same script in an instance, and in one that lacks some layers.

A layer proves itself in pairs: with it an attempt fails in the expected way, without it the same
attempt succeeds. Where several layers stand in the way, the second half leaves all of them out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from samovar.model.isolation import Layer
from samovar.sandbox.process.driver import ProcessSandbox
from tests.contract.sandbox_client import Client, opened
from tests.contract.sandbox_client import spec as new_spec

PRELUDE = """
import ctypes, errno, json, os, signal, socket, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)

def attempt(function, *arguments):
    "What it returns, or the name of the error."
    try:
        result = function(*arguments)
    except TimeoutError:
        return "silence"
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    return result if isinstance(result, (str, int, list, dict)) else "done"

def call(number, *arguments):
    "What a system call (by its number on x86_64) says: 0, or the name of its errno."
    wrapped = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *wrapped)
    return 0 if result >= 0 else errno.errorcode[ctypes.get_errno()]

def read(path):
    with open(path, errors="replace") as file:
        return file.read(4096)

def write(path, text):
    with open(path, "w") as file:
        return file.write(text)

def dial(address, port, patience_s=5):
    with socket.create_connection((address, port), timeout=patience_s) as connection:
        return connection.recv(100).decode()
"""

ROOT = frozenset({Layer.USER, Layer.CAPABILITIES})
"""Without these an instance is the host's root, wherever it is."""


class Attempts:
    """Runs scripts in instances. A script leaves what it saw in `answer`."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self.code = base / "code"
        self.code.mkdir(mode=0o755)
        self._open = contextlib.AsyncExitStack()
        self._sandboxes: dict[frozenset[Layer], ProcessSandbox] = {}

    async def sandbox(self, without: frozenset[Layer] = frozenset()) -> ProcessSandbox:
        """The sandbox of this machine, but for some layers; skips where it has too few."""
        if without not in self._sandboxes:
            data_dir = self._base / f"sandbox{len(self._sandboxes)}"
            context = opened(data_dir, blanks=0, disabled_layers=without)
            sandbox = await self._open.enter_async_context(context)
            self._sandboxes[without] = sandbox
        found = self._sandboxes[without]
        lost = frozenset(Layer) - found.isolation.layers - without - {Layer.EGRESS}
        if Layer.MOUNTS in without:  # then what an instance needs may be out of another uid's reach
            lost -= {Layer.USER}
        if lost:
            pytest.skip(f"this machine lacks layers: {found.isolation.missing}")
        return found

    @contextlib.asynccontextmanager
    async def instance(
        self, without: frozenset[Layer] = frozenset(), **spec: Any
    ) -> AsyncIterator[Client]:
        """An instance that has learnt the prelude."""
        sandbox = await self.sandbox(without)
        instance = await sandbox.start(new_spec(spec.pop("code", self.code), **spec))
        try:
            client = Client(instance)
            try:
                await client.init()
            except EOFError:
                pytest.fail(f"the instance did not start: {await client.exit()}")
            await client.run(PRELUDE + "answer = None")
            yield client
        finally:
            await instance.stop()

    async def inside(self, script: str, **spec: Any) -> Any:
        """What a script sees in an instance that has every layer."""
        async with self.instance(**spec) as client:
            return await client.run(script)

    async def without(self, layers: frozenset[Layer], script: str, **spec: Any) -> Any:
        """What the same script sees where these layers are missing."""
        async with self.instance(layers, **spec) as client:
            return await client.run(script)

    async def close(self) -> None:
        await self._open.aclose()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def attempts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Attempts]:
    if os.geteuid() != 0:
        pytest.skip("needs root: to take one layer away, the others must not depend on it")
    base = tmp_path_factory.mktemp("security")
    for directory in (base, base.parent):
        directory.chmod(0o755)  # the function's uid is another than ours
    attempts = Attempts(base)
    yield attempts
    await attempts.close()
