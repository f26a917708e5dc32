"""Code packages, unpacked once and shared."""

from __future__ import annotations

import asyncio
import hashlib
import io
import stat
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import MAX_UNPACKED_BYTES, CodeRef
from samovar.worker.code_cache import BLOCK_BYTES, CodeCache

CONTENT_BYTES = 5000
WEIGHT_BYTES = CONTENT_BYTES + BLOCK_BYTES
"""Of one package of `Packages.add`."""


class Packages:
    """A code store in memory that counts, and waits where it is told to."""

    def __init__(self) -> None:
        self.packages: dict[str, bytes] = {}
        self.reads = 0
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def add(self, text: str) -> CodeRef:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("handler.py", text.ljust(CONTENT_BYTES))
        return self.add_bytes(buffer.getvalue())

    def add_bytes(self, package: bytes) -> CodeRef:
        code = CodeRef(hashlib.sha256(package).hexdigest(), len(package))
        self.packages[code.sha256_hex] = package
        return code

    async def get(self, sha256_hex: str) -> bytes:
        self.reads += 1
        self.asked.set()
        await self.may_answer.wait()
        if sha256_hex not in self.packages:
            raise PlatformError(ErrorCode.NOT_FOUND, "no such package")
        return self.packages[sha256_hex]

    async def put(self, package: bytes) -> CodeRef:
        return self.add_bytes(package)

    async def from_bucket(self, bucket: str, key: str) -> bytes:
        raise NotImplementedError

    async def sweep(self, in_use: frozenset[str]) -> int:
        raise NotImplementedError


@pytest.fixture
async def packages() -> Packages:
    return Packages()


@pytest.fixture
async def cache(tmp_path: Path, packages: Packages) -> AsyncIterator[CodeCache]:
    cache = CodeCache(tmp_path / "cache", packages, 2 * WEIGHT_BYTES)
    await cache.open()
    yield cache
    await cache.close()


async def reopened(cache: CodeCache, tmp_path: Path, packages: Packages) -> CodeCache:
    await cache.close()
    again = CodeCache(tmp_path / "cache", packages, 2 * WEIGHT_BYTES)
    await again.open()
    return again


def names_in(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def test_a_package_is_unpacked_under_its_sha256(cache: CodeCache, packages: Packages) -> None:
    code = packages.add("one")
    path = await cache.get(code)
    assert path.name == code.sha256_hex
    assert (path / "handler.py").read_text().rstrip() == "one"
    assert cache.warm() == {code.sha256_hex}


async def test_many_who_ask_at_once_cause_one_fetch(cache: CodeCache, packages: Packages) -> None:
    code = packages.add("one")
    paths = await asyncio.gather(*(cache.get(code) for _ in range(20)))
    assert len(set(paths)) == 1
    assert packages.reads == 1


async def test_a_warm_package_is_not_fetched_again(cache: CodeCache, packages: Packages) -> None:
    code = packages.add("one")
    await cache.get(code)
    await cache.get(code)
    assert packages.reads == 1


async def test_users_of_the_host_cannot_browse_it_but_instances_can_read_their_leaf(
    cache: CodeCache, packages: Packages, tmp_path: Path
) -> None:
    leaf = await cache.get(packages.add("one"))
    modes = [
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "cache", leaf, leaf / "handler.py")
    ]
    assert modes == [0o700, 0o555, 0o444]


async def test_a_damaged_package_is_not_unpacked(
    cache: CodeCache, packages: Packages, tmp_path: Path
) -> None:
    code = packages.add("one")
    packages.packages[code.sha256_hex] += b"!"
    with pytest.raises(PlatformError, match="damaged"):
        await cache.get(code)
    assert names_in(tmp_path / "cache") == set()


async def test_an_unsound_package_leaves_nothing_and_can_be_asked_for_again(
    cache: CodeCache, packages: Packages, tmp_path: Path
) -> None:
    code = packages.add_bytes(b"not a zip")
    for _ in range(2):
        with pytest.raises(PlatformError, match="Could not unzip"):
            await cache.pin(code)
    assert names_in(tmp_path / "cache") == set()
    assert packages.reads == 2


async def test_the_least_recently_used_is_evicted(
    cache: CodeCache, packages: Packages, tmp_path: Path
) -> None:
    one, two, three = (packages.add(name) for name in ("one", "two", "three"))
    await cache.get(one)
    await cache.get(two)
    await cache.get(one)
    await cache.get(three)
    assert cache.warm() == {one.sha256_hex, three.sha256_hex}
    assert two.sha256_hex not in names_in(tmp_path / "cache")


async def test_what_is_in_use_is_never_evicted(cache: CodeCache, packages: Packages) -> None:
    one = packages.add("one")
    async with cache.lease(one) as path:
        for name in ("two", "three", "four"):
            await cache.get(packages.add(name))
        assert (path / "handler.py").exists()
    await cache.get(packages.add("five"))
    await cache.get(packages.add("six"))
    assert one.sha256_hex not in cache.warm()


async def test_a_package_is_held_until_the_last_pin_is_gone(
    cache: CodeCache, packages: Packages
) -> None:
    one = packages.add("one")
    path = await cache.pin(one)
    await cache.pin(one)
    cache.unpin(one)
    for name in ("two", "three", "four"):
        await cache.get(packages.add(name))
    assert path.exists()


async def test_a_caller_who_gives_up_does_not_stop_the_fetch_for_the_others(
    cache: CodeCache, packages: Packages
) -> None:
    code = packages.add("one")
    packages.may_answer.clear()
    impatient = asyncio.create_task(cache.pin(code))
    patient = asyncio.create_task(cache.pin(code))
    await packages.asked.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    packages.may_answer.set()
    assert (await patient).exists()
    assert packages.reads == 1
    cache.unpin(code)
    with pytest.raises(AssertionError):  # the one who gave up holds nothing
        cache.unpin(code)


async def test_what_is_unpacked_survives_a_restart_in_its_order(
    cache: CodeCache, packages: Packages, tmp_path: Path
) -> None:
    one, two = packages.add("one"), packages.add("two")
    await cache.get(one)
    await cache.get(two)
    await cache.get(one)
    again = await reopened(cache, tmp_path, packages)
    await again.get(packages.add("three"))
    assert one.sha256_hex in again.warm()
    assert two.sha256_hex not in again.warm()
    await again.close()


@pytest.mark.parametrize("marker", [None, "", "12", "x boot", "12 another-boot"])
async def test_what_may_not_be_whole_is_unpacked_again(
    marker: str | None, cache: CodeCache, packages: Packages, tmp_path: Path
) -> None:
    code = packages.add("one")
    path = await cache.get(code)
    path.chmod(0o755)
    (path / "handler.py").unlink()
    file = path.with_name(f"{path.name}.size")
    file.unlink()
    if marker is not None:
        file.write_text(marker)
    again = await reopened(cache, tmp_path, packages)
    assert again.warm() == frozenset()
    assert (await again.get(code) / "handler.py").exists()
    await again.close()


async def test_what_a_kill_left_half_made_is_cleared_away(
    cache: CodeCache, packages: Packages, tmp_path: Path
) -> None:
    half = tmp_path / "cache" / f".{'0' * 64}.abcd"
    (half / "d").mkdir(parents=True)
    (half / "d").chmod(0o555)
    (tmp_path / "cache" / f"{'1' * 64}.size").write_text("1 boot")
    again = await reopened(cache, tmp_path, packages)
    assert names_in(tmp_path / "cache") == set()
    await again.close()


async def test_an_emptied_directory_heals(cache: CodeCache, packages: Packages) -> None:
    code = packages.add("one")
    path = await cache.get(code)
    path.with_name(f"{path.name}.size").unlink()
    path.rename(path.with_name("elsewhere"))
    assert (await cache.get(code) / "handler.py").exists()


async def test_closing_stops_a_fetch_and_tells_those_who_wait(
    cache: CodeCache, packages: Packages, tmp_path: Path
) -> None:
    packages.may_answer.clear()
    waiting = asyncio.create_task(cache.get(packages.add("one")))
    await packages.asked.wait()
    await cache.close()
    with pytest.raises(PlatformError) as told:
        await waiting
    assert told.value.code is ErrorCode.UNAVAILABLE
    assert names_in(tmp_path / "cache") == set()


async def test_a_disk_without_room_for_one_more_package_is_cleared_of_what_nobody_uses(
    tmp_path: Path, packages: Packages
) -> None:
    def disk_usage(directory: Path) -> tuple[int, int, int]:
        unpacked = sum(len(name) == 64 for name in names_in(directory))
        return 1 << 40, 0, MAX_UNPACKED_BYTES + (1 - unpacked) * WEIGHT_BYTES

    cache = CodeCache(tmp_path / "cache", packages, 1 << 40, disk_usage)
    await cache.open()
    held, idle, newest = (packages.add(text) for text in "abc")
    await cache.pin(held)
    await cache.get(idle)
    await cache.get(newest)
    assert cache.warm() == {held.sha256_hex, newest.sha256_hex}
    assert cache.disk().free_mib == MAX_UNPACKED_BYTES >> 20
    await cache.close()
