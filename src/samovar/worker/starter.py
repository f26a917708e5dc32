"""From a version to an instance in the sandbox: its code and layers unpacked, then started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samovar.model.function import FunctionVersion
from samovar.model.instance import InstanceId
from samovar.ports import Sandbox, SandboxInstance, SandboxSpec
from samovar.worker.bridging import is_bridged
from samovar.worker.code_cache import CodeCache
from samovar.worker.contents import NOTHING, Contents


class Starter:
    """See the module."""

    def __init__(self, sandbox: Sandbox, code: CodeCache) -> None:
        self._sandbox = sandbox
        self._code = code

    async def prepare(self, version: FunctionVersion) -> None:
        """Fetch and unpack its code, make its runtime ready. Raises `PlatformError`."""
        await self._pin(version)
        try:
            bridged = is_bridged(version, *self._contents(version))
            await self._sandbox.prepare(version.runtime, bridged=bridged)
        finally:
            self.unpin(version)

    async def start(
        self, instance: InstanceId, version: FunctionVersion, **of_templates: Any
    ) -> tuple[SandboxInstance, Contents]:
        """Start an instance; its code is pinned until `unpin`. Returns what its layers hold, too.
        `of_templates` are fields of a `SandboxSpec`. Raises `PlatformError`."""
        code_dir, layers_dir = await self._pin(version)
        code, layers = self._contents(version)
        try:
            handle = await self._sandbox.start(
                SandboxSpec(
                    instance_id=instance,
                    runtime=version.runtime,
                    code_dir=code_dir,
                    layers_dir=layers_dir,
                    bridged=is_bridged(version, code, layers),
                    memory_mib=version.memory_mib,
                    vcpus=version.vcpus,
                    ephemeral_storage_mib=version.ephemeral_storage_mib,
                    **of_templates,
                )
            )
        except BaseException:
            self.unpin(version)
            raise
        return handle, layers

    def unpin(self, version: FunctionVersion) -> None:
        """An instance of it is no more."""
        self._code.unpin(version.code)
        if version.layers:
            self._code.unpin(*(layer.code for layer in version.layers))

    async def _pin(self, version: FunctionVersion) -> tuple[Path, Path | None]:
        """Where the version's code is unpacked, and its layers as one tree: until `unpin`."""
        code_dir = await self._code.pin(version.code)
        if not version.layers:
            return code_dir, None
        try:
            return code_dir, await self._code.pin(*(layer.code for layer in version.layers))
        except BaseException:
            self._code.unpin(version.code)
            raise

    def _contents(self, version: FunctionVersion) -> tuple[Contents, Contents]:
        """What the version's code brings, and what its layers do, which are pinned."""
        code = self._code.contents(version.code)
        if not version.layers:
            return code, NOTHING
        return code, self._code.contents(*(layer.code for layer in version.layers))
