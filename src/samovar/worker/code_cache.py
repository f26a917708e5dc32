"""Unpacked code packages on this machine, fetched once and shared by all instances.

How this works. A package lives in `<directory>/<sha256>/`, read-only. It is unpacked beside that,
under a name that begins with a dot, and renamed: a directory with a sha256 for a name is whole.
Its marker `<sha256>.size` is written before the rename and holds what it weighs and the boot in
which it was unpacked. Nothing is synced, so after another boot an entry may be torn by a power cut;
it is then unpacked again, as one without a marker is.

Instances hold their package with a *pin*; what has no pin is evicted, the least recently used
first, when the cache weighs more than `max_bytes`.

The directory is 0700: users of the host cannot browse it. What is inside is readable to everybody,
for an instance's own uid reads it through a mount of the leaf.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import CodeRef
from samovar.ports import CodeStore
from samovar.worker.code_package import remove_tree, unpack

FETCHES_AT_ONCE = 2
"""A fetch holds the package in memory and a thread busy."""

BLOCK_BYTES = 4096
"""What a file or directory takes on the disk beside its content, at most."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class CodeCache:
    """The code packages of one worker. Call `open` first and `close` last."""

    def __init__(self, directory: Path, store: CodeStore, max_bytes: int) -> None:
        self._directory = directory
        self._store = store
        self._max_bytes = max_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()  # the least recently used first
        self._pins: Counter[str] = Counter()
        self._fetches: dict[str, asyncio.Task[Path]] = {}
        self._turns = asyncio.Semaphore(FETCHES_AT_ONCE)
        self._cancel = threading.Event()
        self._boot = ""

    async def open(self) -> None:
        """Find what an earlier life unpacked; clear away what it left half-made."""
        self._boot = await asyncio.to_thread(_boot_id)
        self._sizes.update(await asyncio.to_thread(_recover, self._directory, self._boot))
        await self._evict()

    async def close(self) -> None:
        """Stop fetching. What is unpacked stays for the next life. Idempotent."""
        self._cancel.set()
        tasks = list(self._fetches.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def get(self, code: CodeRef) -> Path:
        """Where the package is unpacked; it may be evicted at any time unless it is pinned.

        Raises `PlatformError`: NOT_FOUND, SERVICE (damaged), INVALID_PARAMETER (unsound). When
        cancelled, the fetch goes on for the others who wait for it, and for the next.
        """
        sha256_hex = code.sha256_hex
        if sha256_hex in self._sizes:
            path = self._directory / sha256_hex
            self._sizes.move_to_end(sha256_hex)
            try:
                # The order of use, for the next life; the kernel's own time is milliseconds coarse.
                os.utime(_marker(path), ns=(time.time_ns(),) * 2)
                return path
            except FileNotFoundError:  # somebody has emptied the directory: fetch it again
                del self._sizes[sha256_hex]
        fetch = self._fetches.get(sha256_hex)
        if fetch is None:
            fetch = asyncio.create_task(self._fetch(sha256_hex), name=f"fetch {sha256_hex}")
            self._fetches[sha256_hex] = fetch
            fetch.add_done_callback(lambda done: self._fetched(sha256_hex, done))
        try:
            return await asyncio.shield(fetch)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if fetch.cancelled() and task is not None and not task.cancelling():
                raise PlatformError(ErrorCode.UNAVAILABLE, "The worker is shutting down.") from None
            raise

    async def pin(self, code: CodeRef) -> Path:
        """As `get`, and keep it until as many calls of `unpin`."""
        self._pins[code.sha256_hex] += 1
        try:
            return await self.get(code)
        except BaseException:
            self.unpin(code)
            raise

    def unpin(self, code: CodeRef) -> None:
        """Let go of one pin."""
        assert self._pins[code.sha256_hex] > 0, "unpinned more often than pinned"
        self._pins[code.sha256_hex] -= 1
        if not self._pins[code.sha256_hex]:
            del self._pins[code.sha256_hex]

    @asynccontextmanager
    async def lease(self, code: CodeRef) -> AsyncIterator[Path]:
        """The package, pinned for as long as the block lasts."""
        path = await self.pin(code)
        try:
            yield path
        finally:
            self.unpin(code)

    def warm(self) -> frozenset[str]:
        """sha256 (hex) of every package that is unpacked here."""
        return frozenset(self._sizes)

    # ------------------------------------------------------------ inside

    async def _fetch(self, sha256_hex: str) -> Path:
        async with self._turns:
            package = await self._store.get(sha256_hex)
            work = asyncio.to_thread(self._install, sha256_hex, package)
            del package  # the thread holds it for as long as it needs it
            size_bytes = await _to_its_end(work)
        self._sizes[sha256_hex] = size_bytes
        await self._evict(keep=sha256_hex)
        return self._directory / sha256_hex

    def _fetched(self, sha256_hex: str, fetch: asyncio.Task[Path]) -> None:
        del self._fetches[sha256_hex]
        if not fetch.cancelled():
            fetch.exception()  # whoever waited has it; nobody may have waited to the end

    def _install(self, sha256_hex: str, package: bytes) -> int:
        """Check and unpack a package; return what it weighs. Blocks."""
        if hashlib.sha256(package).hexdigest() != sha256_hex:
            raise PlatformError(ErrorCode.SERVICE, f"Code package is damaged: {sha256_hex}")
        target = self._directory / sha256_hex
        remove_tree(_put_aside(self._directory, sha256_hex))  # one that somebody else put there
        fresh = self._directory / f".{sha256_hex}.{secrets.token_hex(4)}"
        facts = unpack(package, fresh, cancel=self._cancel)
        size_bytes = facts.unpacked_bytes + BLOCK_BYTES * (facts.files + facts.directories)
        _marker(target).write_text(f"{size_bytes} {self._boot}")
        fresh.rename(target)
        return size_bytes

    async def _evict(self, keep: str | None = None) -> None:
        """Delete the least recently used that nobody has pinned, until the rest is small enough."""
        excess = sum(self._sizes.values()) - self._max_bytes
        victims: list[str] = []
        for sha256_hex, size_bytes in self._sizes.items():
            if excess <= 0:
                break
            if sha256_hex != keep and not self._pins[sha256_hex]:
                victims.append(sha256_hex)
                excess -= size_bytes
        # All of them at once, before anybody else runs and pins one; deleting may take its time.
        for sha256_hex in victims:
            del self._sizes[sha256_hex]
        trash = [_put_aside(self._directory, sha256_hex) for sha256_hex in victims]
        for tree in trash:
            await _to_its_end(asyncio.to_thread(remove_tree, tree))


def _marker(target: Path) -> Path:
    return target.with_name(f"{target.name}.size")


def _put_aside(directory: Path, sha256_hex: str) -> Path:
    """Take an entry out of the cache; return the tree to delete, which may not be there."""
    target = directory / sha256_hex
    trash = directory / f".{sha256_hex}.{secrets.token_hex(4)}"
    _marker(target).unlink(missing_ok=True)
    if target.exists():
        target.rename(trash)
    return trash


def _boot_id() -> str:
    """Which boot of the machine this is; where it cannot be known, no entry outlives a process."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return secrets.token_hex(16)


def _recover(directory: Path, boot: str) -> dict[str, int]:
    """The sizes of the whole entries, least recently used first; everything else is deleted."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    found: list[tuple[int, str, int]] = []
    names = {path.name for path in directory.iterdir()}
    for name in names:
        if name.startswith("."):
            remove_tree(directory / name)
        elif name.endswith(".size") and name.removesuffix(".size") not in names:
            (directory / name).unlink()
        elif _SHA256.fullmatch(name):
            size_bytes = _size_in(_marker(directory / name), boot)
            if size_bytes is None:
                remove_tree(_put_aside(directory, name))
            else:
                used_ns = _marker(directory / name).stat().st_mtime_ns
                found.append((used_ns, name, size_bytes))
    return {name: size_bytes for _, name, size_bytes in sorted(found)}


def _size_in(marker: Path, boot: str) -> int | None:
    """What a marker says that its entry weighs; None unless it is of this boot."""
    try:
        size, _, written_in = marker.read_text().partition(" ")
    except (OSError, UnicodeDecodeError):
        return None
    return int(size) if written_in == boot and size.isdigit() else None


Result = TypeVar("Result")


async def _to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Await a thread; when cancelled, only after the thread has ended."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
