"""What every `CodeStore` does, and what the one in a directory does beside."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import os
import stat
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import MAX_UNPACKED_BYTES, CodeRef
from samovar.store.objects import ObjectCodeStore

PACKAGE = b"PK" * 1000
NO_BUCKET = (
    "Error occurred while GetObject. S3 Error Code: NoSuchBucket. "
    "S3 Error Message: The specified bucket does not exist."
)
NO_KEY = (
    "Error occurred while GetObject. S3 Error Code: NoSuchKey. "
    "S3 Error Message: The specified key does not exist."
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def store(root: Path) -> ObjectCodeStore:
    return ObjectCodeStore.open(root)


@pytest.fixture
def bucket(store: ObjectCodeStore, root: Path) -> Path:
    """The directory of the bucket `my-bucket`."""
    path = root / "buckets" / "my-bucket"
    path.mkdir()
    return path


async def test_a_package_is_named_by_its_content(store: ObjectCodeStore) -> None:
    code = await store.put(PACKAGE)
    assert code == CodeRef(hashlib.sha256(PACKAGE).hexdigest(), len(PACKAGE))
    assert await store.get(code.sha256_hex) == PACKAGE


async def test_a_package_survives_a_restart(store: ObjectCodeStore, root: Path) -> None:
    code = await store.put(PACKAGE)
    assert await ObjectCodeStore.open(root).get(code.sha256_hex) == PACKAGE


async def test_the_same_package_may_be_put_many_times_at_once(store: ObjectCodeStore) -> None:
    codes = await asyncio.gather(*(store.put(PACKAGE) for _ in range(8)))
    assert len(set(codes)) == 1
    assert await store.get(codes[0].sha256_hex) == PACKAGE


@pytest.mark.parametrize("name", ["0" * 64, "", "../../etc/passwd", "A" * 64])
async def test_a_package_that_is_not_there_is_not_found(name: str, store: ObjectCodeStore) -> None:
    with pytest.raises(PlatformError) as refused:
        await store.get(name)
    assert refused.value.code is ErrorCode.NOT_FOUND


async def test_a_package_torn_by_a_power_cut_is_told_and_mended_by_putting_it_again(
    store: ObjectCodeStore, root: Path
) -> None:
    code = await store.put(PACKAGE)
    (root / "code" / f"{code.sha256_hex}.zip").write_bytes(b"")
    with pytest.raises(PlatformError, match="damaged"):
        await store.get(code.sha256_hex)
    await store.put(PACKAGE)
    assert await store.get(code.sha256_hex) == PACKAGE


async def test_other_users_of_the_host_cannot_read_packages(
    store: ObjectCodeStore, root: Path
) -> None:
    await store.put(PACKAGE)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (root, root / "code")] == [0o700] * 2


def test_a_write_that_a_kill_cut_short_is_cleared_away(store: ObjectCodeStore, root: Path) -> None:
    staged = root / "code" / f"{'0' * 64}.zip#3"
    staged.write_bytes(b"half")
    ObjectCodeStore.open(root)
    assert not staged.exists()


# ---------------------------------------------------------------- buckets


@pytest.mark.parametrize("key", ["code.zip", "a/b/code.zip", "ü ß/%41?#.zip", ".hidden"])
async def test_an_object_of_a_bucket_is_read(
    key: str, store: ObjectCodeStore, bucket: Path
) -> None:
    (bucket / key).parent.mkdir(parents=True, exist_ok=True)
    (bucket / key).write_bytes(PACKAGE)
    assert await store.from_bucket("my-bucket", key) == PACKAGE


@pytest.mark.parametrize(
    "name", ["nobodys", "", ".", "..", "../code", "a/b", "my-bucket\0", "x" * 99]
)
async def test_a_bucket_that_is_not_there_is_named_in_awss_words(
    name: str, store: ObjectCodeStore, bucket: Path
) -> None:
    with pytest.raises(PlatformError) as refused:
        await store.from_bucket(name, "code.zip")
    assert refused.value == PlatformError(ErrorCode.INVALID_PARAMETER, NO_BUCKET)


ESCAPES = [
    "../../code/{sha}.zip",
    "a/../../../code/{sha}.zip",
    "/etc/passwd",
    "//etc/passwd",
    "a//b",
    "./code.zip",
    "..",
    "",
    "code.zip\0",
    "..\\..\\code",
    "link-out",
    "dir-out/passwd",
    "link-chain",
    "directory",
    "fifo",
    "nothing",
    "half.zip#1",
    "k" * 2000,
    "\ud800",
]


@pytest.mark.parametrize("key", ESCAPES, ids=range(len(ESCAPES)))
async def test_nothing_outside_the_bucket_can_be_read(
    key: str, store: ObjectCodeStore, bucket: Path
) -> None:
    code = await store.put(PACKAGE)
    (bucket / "link-out").symlink_to("/etc/passwd")
    (bucket / "dir-out").symlink_to("/etc")
    (bucket / "link-chain").symlink_to("link-out")
    (bucket / "directory").mkdir()
    (bucket / "half.zip#1").touch()
    os.mkfifo(bucket / "fifo")
    with pytest.raises(PlatformError) as refused:
        await store.from_bucket("my-bucket", key.replace("{sha}", code.sha256_hex))
    assert refused.value == PlatformError(ErrorCode.INVALID_PARAMETER, NO_KEY)


async def test_a_bucket_that_is_a_link_is_no_bucket(store: ObjectCodeStore, root: Path) -> None:
    (root / "buckets" / "linked").symlink_to("/etc")
    with pytest.raises(PlatformError, match="NoSuchBucket"):
        await store.from_bucket("linked", "passwd")


async def test_an_object_over_the_limit_is_refused_before_it_is_read(
    store: ObjectCodeStore, bucket: Path
) -> None:
    with (bucket / "huge.zip").open("wb") as file:
        file.truncate(MAX_UNPACKED_BYTES + 1)
    with pytest.raises(PlatformError) as refused:
        await store.from_bucket("my-bucket", "huge.zip")
    assert refused.value.code is ErrorCode.INVALID_PARAMETER


# ---------------------------------------------------------------- sweep


async def test_what_nothing_refers_to_is_swept(root: Path) -> None:
    store = ObjectCodeStore.open(root, sweep_grace_s=0)
    used, unused = await store.put(b"used"), await store.put(b"unused")
    assert await store.sweep(frozenset({used.sha256_hex})) == 1
    assert await store.get(used.sha256_hex) == b"used"
    with pytest.raises(PlatformError):
        await store.get(unused.sha256_hex)


async def test_a_package_on_its_way_into_a_function_is_not_swept(root: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    late = ObjectCodeStore.open(root, now=lambda: now + dt.timedelta(hours=2))
    soon = ObjectCodeStore.open(root, now=lambda: now + dt.timedelta(minutes=30))
    await soon.put(PACKAGE)
    assert await soon.sweep(frozenset()) == 0
    assert await late.sweep(frozenset()) == 1


async def test_sweeping_leaves_what_is_no_package(root: Path) -> None:
    store = ObjectCodeStore.open(root, sweep_grace_s=0)
    (root / "code" / "README").touch()
    (root / "buckets" / "b").touch()
    assert await store.sweep(frozenset()) == 0
    assert (root / "code" / "README").exists()


# ---------------------------------------------------------------- an object store

IN_A_BUCKET = "buckets/my-bucket/a/code.zip"


@pytest.fixture
def remote() -> ObjectCodeStore:
    """As with `s3://…`: a store without a directory, with one object in `my-bucket`."""
    store = MemoryStore()
    store.put(IN_A_BUCKET, PACKAGE)
    return ObjectCodeStore(store, None, sweep_grace_s=0)


async def test_packages_are_kept_and_swept_in_an_object_store(remote: ObjectCodeStore) -> None:
    code = await remote.put(PACKAGE)
    assert await remote.get(code.sha256_hex) == PACKAGE
    assert await remote.sweep(frozenset()) == 1
    with pytest.raises(PlatformError):
        await remote.get(code.sha256_hex)
    assert await remote.from_bucket("my-bucket", "a/code.zip") == PACKAGE


@pytest.mark.parametrize(
    ("bucket_name", "key", "message"),
    [
        ("my-bucket", "b/code.zip", NO_KEY),
        ("my-bucket", "a", NO_KEY),
        ("my-bucket", "../../code/x.zip", NO_KEY),
        ("my-buck", "et/a/code.zip", NO_BUCKET),
        ("nobodys", "a/code.zip", NO_BUCKET),
    ],
)
async def test_what_an_object_store_has_not_is_named_in_awss_words(
    bucket_name: str, key: str, message: str, remote: ObjectCodeStore
) -> None:
    with pytest.raises(PlatformError) as refused:
        await remote.from_bucket(bucket_name, key)
    assert refused.value == PlatformError(ErrorCode.INVALID_PARAMETER, message)
