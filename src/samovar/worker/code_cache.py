"""Unpacked code packages on this machine, fetched once and shared by all instances.

How this works. A package lives in `<directory>/<sha256>/`, read-only; several packages merged (the
layers of functions) in `<directory>/layers-<digest of their sha256s, in order>/`. An *entry*, one
or the other, is made beside that, under a name that begins with a dot, and renamed: a directory
with an entry's name is whole. Its marker `<name>.size` is written before the rename and holds what
it weighs and the boot in which it was made. Nothing is synced, so after another boot an entry may
be torn by a power cut; it is then made again, as one without a marker is.

Instances hold their entries with *pins*; what has no pin is evicted, the least recently used
first, when the cache weighs more than `max_bytes` or the disk has no room for one more package.
(Files that merged entries share with packages count for each of them.)

The directory is 0700: users of the host cannot browse it. What is inside is readable to everybody,
for an instance's own uid reads it through a mount of the leaf.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import MAX_UNPACKED_BYTES, CodeRef
from samovar.ports import CodeStore
from samovar.worker.code_package import PackageFacts, remove_tree, unpack
from samovar.worker.contents import Contents, look
from samovar.worker.layer_tree import merge

FETCHES_AT_ONCE = 2
"""A fetch holds the package in memory and a thread busy."""

BLOCK_BYTES = 4096
"""What a file or directory takes on the disk beside its content, at most."""

_ENTRY = re.compile(r"(?:layers-)?[0-9a-f]{64}")
_MERGED = "layers-"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Disk(NamedTuple):
    """The file system that the cache is on."""

    total_mib: int
    free_mib: int
    """With what would be evicted to make room."""


class _Made(NamedTuple):
    """An entry."""

    size_bytes: int
    contents: Contents


class CodeCache:
    """The code packages of one worker. Call `open` first and `close` last."""

    def __init__(
        self,
        directory: Path,
        store: CodeStore,
        max_bytes: int,
        disk_usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage,
    ) -> None:
        self._directory = directory
        self._store = store
        self._max_bytes = max_bytes
        self._disk_usage = disk_usage
        self._sizes: OrderedDict[str, int] = OrderedDict()  # the least recently used first
        self._contents: dict[str, Contents] = {}
        self._warm: frozenset[str] | None = None
        """See `warm`; None: to be made anew."""
        self._pins: Counter[str] = Counter()
        self._makings: dict[str, asyncio.Task[Path]] = {}
        self._turns = asyncio.Semaphore(FETCHES_AT_ONCE)
        self._cancel = threading.Event()
        self._boot = ""

    async def open(self) -> None:
        """Find what an earlier life unpacked; clear away what it left half-made."""
        self._boot = await asyncio.to_thread(_boot_id)
        for name, made in (await asyncio.to_thread(_recover, self._directory, self._boot)).items():
            self._add(name, made)
        await self._evict()

    async def close(self) -> None:
        """Stop making entries. What is unpacked stays for the next life. Idempotent."""
        self._cancel.set()
        tasks = list(self._makings.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def get(self, *packages: CodeRef) -> Path:
        """Where the package is unpacked, or where several are merged, the later ones over the
        earlier; it may be evicted at any time unless it is pinned.

        Raises `PlatformError`: NOT_FOUND, SERVICE (damaged), INVALID_PARAMETER (unsound). When
        cancelled, the work goes on for the others who wait for it, and for the next.
        """
        name = _entry_name(packages)
        if name in self._sizes:
            path = self._directory / name
            self._sizes.move_to_end(name)
            try:
                # The order of use, for the next life; the kernel's own time is milliseconds coarse.
                os.utime(_marker(path), ns=(time.time_ns(),) * 2)
                return path
            except FileNotFoundError:  # somebody has emptied the directory: make it again
                del self._sizes[name]
                self._warm = None
        making = self._makings.get(name)
        if making is None:
            work = self._fetch(name) if len(packages) == 1 else self._merge(name, packages)
            making = asyncio.create_task(work, name=f"make {name}")
            self._makings[name] = making
            making.add_done_callback(lambda done: self._made(name, done))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if making.cancelled() and task is not None and not task.cancelling():
                raise PlatformError(ErrorCode.UNAVAILABLE, "The worker is shutting down.") from None
            raise

    async def pin(self, *packages: CodeRef) -> Path:
        """As `get`, and keep it until as many calls of `unpin`."""
        name = _entry_name(packages)
        self._pins[name] += 1
        try:
            return await self.get(*packages)
        except BaseException:
            self.unpin(*packages)
            raise

    def unpin(self, *packages: CodeRef) -> None:
        """Let go of one pin."""
        name = _entry_name(packages)
        assert self._pins[name] > 0, "unpinned more often than pinned"
        self._pins[name] -= 1
        if not self._pins[name]:
            del self._pins[name]

    @asynccontextmanager
    async def lease(self, *packages: CodeRef) -> AsyncIterator[Path]:
        """The entry, pinned for as long as the block lasts."""
        path = await self.pin(*packages)
        try:
            yield path
        finally:
            self.unpin(*packages)

    def contents(self, *packages: CodeRef) -> Contents:
        """What an entry brings, which is pinned."""
        return self._contents[_entry_name(packages)]

    def warm(self) -> frozenset[str]:
        """sha256 (hex) of every package that is unpacked here."""
        if self._warm is None:
            self._warm = frozenset(name for name in self._sizes if not name.startswith(_MERGED))
        return self._warm

    def disk(self) -> Disk:
        """How much room there is for more."""
        total_bytes, _, free_bytes = self._disk_usage(self._directory)
        pinned = sum(self._sizes.get(name, 0) for name in self._pins)
        unpinned = sum(self._sizes.values()) - pinned
        return Disk(total_bytes >> 20, (free_bytes + unpinned) >> 20)

    def has_room_for(self, *packages: CodeRef) -> bool:
        """Whether those of them that are not unpacked yet fit on the disk."""
        new = {code.sha256_hex: code.unpacked_bytes for code in packages}
        needed_mib = sum(size for name, size in new.items() if name not in self._sizes) >> 20
        return not needed_mib or needed_mib <= self.disk().free_mib

    # ------------------------------------------------------------ inside

    async def _fetch(self, sha256_hex: str) -> Path:
        async with self._turns:
            package = await self._store.get(sha256_hex)
            work = asyncio.to_thread(self._install, sha256_hex, package)
            del package  # the thread holds it for as long as it needs it
            made = await _to_its_end(work)
        return await self._keep(sha256_hex, made)

    async def _merge(self, name: str, packages: Sequence[CodeRef]) -> Path:
        async with AsyncExitStack() as leases:
            parts = [await leases.enter_async_context(self.lease(code)) for code in packages]
            async with self._turns:
                made = await _to_its_end(asyncio.to_thread(self._install_merged, name, parts))
        return await self._keep(name, made)

    def _add(self, name: str, made: _Made) -> None:
        self._sizes[name], self._contents[name] = made
        self._warm = None

    async def _keep(self, name: str, made: _Made) -> Path:
        self._add(name, made)
        await self._evict(keep=name)
        return self._directory / name

    def _made(self, name: str, making: asyncio.Task[Path]) -> None:
        del self._makings[name]
        if not making.cancelled():
            making.exception()  # whoever waited has it; nobody may have waited to the end

    def _install(self, sha256_hex: str, package: bytes) -> _Made:
        """Check and unpack a package. Blocks."""
        if hashlib.sha256(package).hexdigest() != sha256_hex:
            raise PlatformError(ErrorCode.SERVICE, f"Code package is damaged: {sha256_hex}")
        return self._place(sha256_hex, lambda fresh: unpack(package, fresh, cancel=self._cancel))

    def _install_merged(self, name: str, parts: Sequence[Path]) -> _Made:
        return self._place(name, lambda fresh: merge(parts, fresh, cancel=self._cancel))

    def _place(self, name: str, make: Callable[[Path], PackageFacts]) -> _Made:
        """Have an entry made, and put it where it belongs. Blocks."""
        target = self._directory / name
        remove_tree(_put_aside(self._directory, name))  # one that somebody else put there
        fresh = self._directory / f".{name}.{secrets.token_hex(4)}"
        facts = make(fresh)
        contents = look(fresh)
        size_bytes = facts.unpacked_bytes + BLOCK_BYTES * (facts.files + facts.directories)
        _marker(target).write_text(f"{size_bytes} {self._boot}")
        fresh.rename(target)
        return _Made(size_bytes, contents)

    async def _evict(self, keep: str | None = None) -> None:
        """Delete the least recently used that nobody has pinned, until the rest is small enough,
        and the disk has room for one more package."""
        free_bytes = self._disk_usage(self._directory)[2]
        excess = max(sum(self._sizes.values()) - self._max_bytes, MAX_UNPACKED_BYTES - free_bytes)
        victims: list[str] = []
        for name, size_bytes in self._sizes.items():
            if excess <= 0:
                break
            if name != keep and not self._pins[name]:
                victims.append(name)
                excess -= size_bytes
        # All of them at once, before anybody else runs and pins one; deleting may take its time.
        for name in victims:
            del self._sizes[name], self._contents[name]
        self._warm = None
        trash = [_put_aside(self._directory, name) for name in victims]
        for tree in trash:
            await _to_its_end(asyncio.to_thread(remove_tree, tree))


def _entry_name(packages: Sequence[CodeRef]) -> str:
    names = [code.sha256_hex for code in packages]
    if len(names) == 1:
        return names[0]
    return _MERGED + hashlib.sha256(" ".join(names).encode()).hexdigest()


def _marker(target: Path) -> Path:
    return target.with_name(f"{target.name}.size")


def _put_aside(directory: Path, name: str) -> Path:
    """Take an entry out of the cache; return the tree to delete, which may not be there."""
    target = directory / name
    trash = directory / f".{name}.{secrets.token_hex(4)}"
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


def _recover(directory: Path, boot: str) -> dict[str, _Made]:
    """The whole entries, least recently used first; everything else is deleted."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    found: list[tuple[int, str, _Made]] = []
    names = {path.name for path in directory.iterdir()}
    for name in names:
        if name.startswith("."):
            remove_tree(directory / name)
        elif name.endswith(".size") and name.removesuffix(".size") not in names:
            (directory / name).unlink()
        elif _ENTRY.fullmatch(name):
            size_bytes = _size_in(_marker(directory / name), boot)
            if size_bytes is None:
                remove_tree(_put_aside(directory, name))
            else:
                used_ns = _marker(directory / name).stat().st_mtime_ns
                found.append((used_ns, name, _Made(size_bytes, look(directory / name))))
    return {name: made for _, name, made in sorted(found)}


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
