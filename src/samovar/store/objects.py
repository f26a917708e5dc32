"""Code packages in an object store: the `CodeStore` of `stores.py`.

Layout: `code/<sha256>.zip`, and `buckets/<bucket>/<key>` for what clients name with
Code.S3Bucket and S3Key. In a directory the store writes a temporary file and renames it, but does
not sync; a kill needs no more, a power cut does, so `put` syncs file and directory itself. A
package is always written, also when it is there: that repairs what an earlier power cut left, and
its new age keeps `sweep` off it until a version refers to it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import MAX_UNPACKED_BYTES, CodeRef

SWEEP_GRACE_S = 3600.0
"""A package is put before a version refers to it; younger ones are never swept."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BUCKET = re.compile(r"[0-9A-Za-z._-]{3,63}")
_STAGED = re.compile(r"#[0-9]+$")
MAX_KEY_BYTES = 1024


class ObjectCodeStore:
    """The `CodeStore` over a directory or an S3-compatible bucket."""

    def __init__(
        self,
        store: ObjectStore,
        directory: Path | None,
        *,
        sweep_grace_s: float = SWEEP_GRACE_S,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._store = store
        self._directory = directory
        self._sweep_grace = dt.timedelta(seconds=sweep_grace_s)
        self._now = now

    @classmethod
    def open(
        cls,
        path_or_url: str | os.PathLike[str],
        *,
        sweep_grace_s: float = SWEEP_GRACE_S,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> ObjectCodeStore:
        """Open a directory (made if it is not there, readable to us alone) or, for
        `s3://bucket/prefix`, an object store. Blocks for a moment."""
        where = os.fspath(path_or_url)
        if "://" in where:
            return cls(from_url(where), None, sweep_grace_s=sweep_grace_s, now=now)
        directory = Path(where).resolve()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in ("code", "buckets"):
            (directory / part).mkdir(mode=0o700, exist_ok=True)
        for staged in (directory / "code").iterdir():  # a write that a kill cut short
            if _STAGED.search(staged.name):
                staged.unlink(missing_ok=True)
        _sync(directory)
        return cls(LocalStore(directory), directory, sweep_grace_s=sweep_grace_s, now=now)

    async def put(self, package: bytes) -> CodeRef:
        """Keep a package; durable on return. When cancelled, it may be kept all the same."""
        sha256_hex = (await asyncio.to_thread(hashlib.sha256, package)).hexdigest()
        path = _path(sha256_hex)
        await obstore.put_async(self._store, path, package, use_multipart=False)
        if self._directory is not None:
            await asyncio.to_thread(_sync, self._directory / path, self._directory / "code")
        return CodeRef(sha256_hex, len(package))

    async def get(self, sha256_hex: str) -> bytes:
        """A package. NOT_FOUND; SERVICE if it is not what was put."""
        package = await self._read(_path(sha256_hex)) if _SHA256.fullmatch(sha256_hex) else None
        if package is None:
            raise PlatformError(ErrorCode.NOT_FOUND, f"Code package not found: {sha256_hex}")
        if (await asyncio.to_thread(hashlib.sha256, package)).hexdigest() != sha256_hex:
            raise PlatformError(ErrorCode.SERVICE, f"Code package is damaged: {sha256_hex}")
        return package

    async def from_bucket(self, bucket: str, key: str) -> bytes:
        """Read an object that a client named. INVALID_PARAMETER with AWS's wording."""
        if not _BUCKET.fullmatch(bucket) or ".." in bucket or not await self._has_bucket(bucket):
            raise _s3_error("NoSuchBucket", "The specified bucket does not exist.")
        missing = _s3_error("NoSuchKey", "The specified key does not exist.")
        if not _plain_key(key):
            raise missing
        path = f"buckets/{bucket}/{key}"
        if self._directory is not None:
            root = self._directory / "buckets" / bucket
            if not await asyncio.to_thread(_is_file_within, root, key):
                raise missing
        package = await self._read(path, max_bytes=MAX_UNPACKED_BYTES)
        if package is None:
            raise missing
        return package

    async def sweep(self, in_use: frozenset[str]) -> int:
        """Delete packages that nothing refers to and that are not fresh; return how many."""
        oldest_kept = self._now() - self._sweep_grace
        stale: list[str] = []
        async for batch in obstore.list(self._store, prefix="code"):
            for found in batch:
                name = found["path"].removeprefix("code/").removesuffix(".zip")
                if (
                    _SHA256.fullmatch(name)
                    and name not in in_use
                    and found["last_modified"] <= oldest_kept
                ):
                    stale.append(found["path"])
        for path in stale:
            await obstore.delete_async(self._store, path)
        return len(stale)

    async def _read(self, path: str, max_bytes: int | None = None) -> bytes | None:
        try:
            found = await obstore.get_async(self._store, path)
        except FileNotFoundError:
            return None
        if max_bytes is not None and found.meta["size"] > max_bytes:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                f"Unzipped size must be smaller than {max_bytes} bytes",
            )
        return bytes(await found.bytes_async())

    async def _has_bucket(self, bucket: str) -> bool:
        """In an object store a bucket is there once something is in it."""
        if self._directory is not None:
            path = self._directory / "buckets" / bucket
            return await asyncio.to_thread(lambda: path.is_dir() and not path.is_symlink())
        async for batch in obstore.list(self._store, prefix=f"buckets/{bucket}", chunk_size=1):
            return len(batch) > 0
        return False


def _path(sha256_hex: str) -> str:
    return f"code/{sha256_hex}.zip"


def _s3_error(code: str, message: str) -> PlatformError:
    return PlatformError(
        ErrorCode.INVALID_PARAMETER,
        f"Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}",
    )


def _plain_key(key: str) -> bool:
    """Whether a key can only name something in its bucket, however a store reads it."""
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        return False
    return (
        0 < len(encoded) <= MAX_KEY_BYTES
        and not any(ord(character) < 32 for character in key)
        and "\\" not in key
        and not _STAGED.search(key)  # the directory store's own temporary files
        and all(part not in ("", ".", "..") for part in key.split("/"))
    )


def _is_file_within(root: Path, key: str) -> bool:
    """Whether a key of a directory is a plain file that no symbolic link on its way leads out."""
    try:
        path = (root / key).resolve(strict=True)
        return path.is_relative_to(root.resolve()) and stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _sync(*paths: Path) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
