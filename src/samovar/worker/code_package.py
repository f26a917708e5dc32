"""A code package: checking a zip from a stranger, and unpacking it.

How this works. `_plan` reads the zip's directory and decides where every entry goes, before a
byte is written. It refuses whatever could name a place outside the target, mean two things to two
readers, or cost more than its size tells: the standard library's `extractall` allows most of it.
Then the entries are inflated, counting the bytes that really come out, to nowhere (`inspect`) or
to the target (`unpack`). Symbolic links are made last and no entry lies behind one, so nothing is
ever written through a link; that links stay inside is checked by following them in the plan.

AWS's limits: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

from __future__ import annotations

import asyncio
import calendar
import io
import os
import re
import shutil
import stat
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import MAX_UNPACKED_BYTES, MAX_ZIP_BYTES
from samovar.worker.links import MAX_DEPTH, LinkError, check_links

MAX_ENTRIES = 100_000
"""Files, links and directories, also those that only a path implies."""

MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255

_CHUNK_BYTES = 1 << 20
_COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""What AWS documents. Others can claim gigabytes of dictionary in a header."""

_CENTRAL_SIGNATURE = b"PK\1\2"
_LOCAL_SIGNATURE = b"PK\3\4"
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_DRIVE = re.compile(r"[A-Za-z]:")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_EPOCH_S = calendar.timegm((1980, 1, 1, 0, 0, 0))

MALFORMED = "Could not unzip uploaded file. Please check your file, then try to upload again."
EMPTY = "Uploaded file must be a non-empty zip"
TOO_LARGE_PACKED = "Zipped size must be smaller than {} bytes"
TOO_LARGE = f"Unzipped size must be smaller than {MAX_UNPACKED_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """What a sound package holds."""

    files: int
    """Links are among them."""
    directories: int
    unpacked_bytes: int


class UnpackCancelledError(Exception):
    """The caller's `cancel` was set: nothing is left of what was unpacked."""


@dataclass(slots=True)
class _Plan:
    """Where the entries of a package go, by path relative to the target."""

    directories: set[str] = field(default_factory=set)
    files: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def add_parents(self, path: str) -> None:
        parent = path
        while (parent := parent.rpartition("/")[0]) and parent not in self.directories:
            self.add_directory(parent)

    def add_directory(self, path: str) -> None:
        self.directories.add(path)
        self.check_size()

    def facts(self, unpacked_bytes: int) -> PackageFacts:
        return PackageFacts(
            len(self.files) + len(self.links), len(self.directories), unpacked_bytes
        )

    def check_size(self) -> None:
        if len(self.directories) + len(self.files) + len(self.links) > MAX_ENTRIES:
            raise _refused(f"it holds more than {MAX_ENTRIES} files and directories")


def inspect(
    package: bytes,
    *,
    max_packed_bytes: int = MAX_ZIP_BYTES,
    cancel: threading.Event | None = None,
) -> PackageFacts:
    """Check a package by unpacking it to nowhere. Blocks: call it in a thread.

    `max_packed_bytes` is for packages that come in a request; AWS takes `MAX_UNPACKED_BYTES` of
    those that come from a bucket.

    Raises `PlatformError` INVALID_PARAMETER, in AWS's words where AWS has any;
    `UnpackCancelledError` soon after `cancel` is set.
    """
    if len(package) > max_packed_bytes:
        raise PlatformError(ErrorCode.INVALID_PARAMETER, TOO_LARGE_PACKED.format(max_packed_bytes))
    with _opened(package) as archive:
        plan = _plan(package, archive)
        unpacked_bytes = 0
        for info in plan.files.values():
            for chunk in _inflate(archive, info, MAX_UNPACKED_BYTES - unpacked_bytes, cancel):
                unpacked_bytes += len(chunk)
        return plan.facts(unpacked_bytes)


async def check_package(package: bytes) -> int:
    """The `PackageInspector` of `stores.py`, for packages from a request (whose size the frontend
    bounds) and from a bucket. When cancelled, the check ends soon after."""
    cancel = threading.Event()
    try:
        facts = await asyncio.to_thread(
            inspect, package, max_packed_bytes=MAX_UNPACKED_BYTES, cancel=cancel
        )
    except asyncio.CancelledError:
        cancel.set()
        raise
    return facts.unpacked_bytes


def unpack(package: bytes, target: Path, *, cancel: threading.Event | None = None) -> PackageFacts:
    """Unpack a package into `target`, which must not be there yet. Blocks: call it in a thread.

    Everything is readable to everybody and writable to nobody, for functions run under another
    uid; of the modes in the package only "executable" is kept. Raises as `inspect` does, and
    `OSError` where the disk fails; then nothing of `target` is left.
    """
    target.mkdir(mode=0o700)
    try:
        with _opened(package) as archive:
            return _fill(target, archive, _plan(package, archive), cancel)
    except BaseException:
        remove_tree(target)
        raise


def remove_tree(tree: Path) -> None:
    """Delete an unpacked package: its directories are read-only, which stops an ordinary user's
    rmtree. What is not there is no error."""
    if not tree.exists():
        return
    for directory, _, _ in os.walk(tree):
        Path(directory).chmod(0o700)
    shutil.rmtree(tree)


# ---------------------------------------------------------------- reading


@contextmanager
def _opened(package: bytes) -> Iterator[zipfile.ZipFile]:
    """The archive; what the zip modules raise on a broken one becomes AWS's error."""
    if not package:
        raise PlatformError(ErrorCode.INVALID_PARAMETER, EMPTY)
    # Counted before the library makes an object of each: a directory of a million entries fits
    # into a small package.
    if package.count(_CENTRAL_SIGNATURE) > MAX_ENTRIES:
        raise _refused(f"it holds more than {MAX_ENTRIES} entries")
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            yield archive
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        NotImplementedError,  # a compression or a version that zipfile does not know
        ValueError,  # names that are no UTF-8, seeks before the start
        OverflowError,
    ) as error:
        raise PlatformError(ErrorCode.INVALID_PARAMETER, MALFORMED) from error


def _inflate(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    room_bytes: int,
    cancel: threading.Event | None,
) -> Iterator[bytes]:
    """The content of an entry, as long as it is no longer than `room_bytes`."""
    left_bytes = info.file_size
    with archive.open(info) as stream:
        while True:
            if cancel is not None and cancel.is_set():
                raise UnpackCancelledError
            chunk = stream.read(_CHUNK_BYTES)
            left_bytes -= len(chunk)
            if not chunk and left_bytes:
                raise zipfile.BadZipFile("shorter than it says")  # zipfile minds longer ones only
            if not chunk:
                return
            room_bytes -= len(chunk)
            if room_bytes < 0:
                raise PlatformError(ErrorCode.INVALID_PARAMETER, TOO_LARGE)
            yield chunk


# ---------------------------------------------------------------- deciding


def _plan(package: bytes, archive: zipfile.ZipFile) -> _Plan:
    entries = archive.infolist()
    if not entries:
        raise PlatformError(ErrorCode.INVALID_PARAMETER, EMPTY)
    if sum(info.file_size for info in entries) > MAX_UNPACKED_BYTES:
        raise PlatformError(ErrorCode.INVALID_PARAMETER, TOO_LARGE)
    _check_apart(package, archive)
    plan = _Plan()
    for info in entries:
        _place(plan, archive, info)
    for path in (*plan.files, *plan.links):
        if path in plan.directories:
            raise _refused(f"{path!r} is both a directory and something else")
    try:
        check_links(plan.links)
    except LinkError as error:
        raise _refused(str(error)) from error
    return plan


def _check_apart(package: bytes, archive: zipfile.ZipFile) -> None:
    """Entries that share their bytes are how a few kilobytes become petabytes."""
    end = 0
    for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
        start = info.header_offset
        signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(package, start)
        if signature != _LOCAL_SIGNATURE:
            raise zipfile.BadZipFile("no local header")
        if start < end:
            raise _refused("its entries overlap")
        end = start + _LOCAL_HEADER.size + name_bytes + extra_bytes + info.compress_size
    if end > archive.start_dir:
        raise _refused("its entries overlap")


def _place(plan: _Plan, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Add one entry to the plan."""
    path = _path_of(info)
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if info.flag_bits & _ENCRYPTED:
        raise _refused(f"{path!r} is encrypted")
    if info.compress_type not in _COMPRESSIONS:
        raise _refused(f"{path!r} is compressed in an unusual way: use deflate")
    if info.orig_filename.endswith("/"):
        if info.file_size or kind not in (0, stat.S_IFDIR, stat.S_IFREG):
            raise _refused(f"{path!r} is a directory with content")
        if path:
            plan.add_parents(path)
            plan.add_directory(path)
        return
    if not path or kind not in (0, stat.S_IFREG, stat.S_IFLNK):
        raise _refused(f"{path!r} is neither a file nor a directory nor a symbolic link")
    if path in plan.files or path in plan.links:
        raise _refused(f"{path!r} is there twice")
    plan.add_parents(path)
    if kind == stat.S_IFLNK:
        plan.links[path] = _link_target(archive, info, path)
    else:
        plan.files[path] = info
    plan.check_size()


def _path_of(info: zipfile.ZipInfo) -> str:
    """Where an entry goes, relative to the target; empty for the target itself."""
    name = info.orig_filename  # zipfile cuts `filename` at a NUL
    if "\0" in name or "\\" in name or name.startswith("/") or _DRIVE.match(name):
        raise _refused(f"{name!r} is not a relative path with forward slashes")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise _refused(f"{name!r} leads out of the package")
    path = "/".join(parts)
    if (
        len(path.encode()) > MAX_PATH_BYTES
        or len(parts) > MAX_DEPTH
        or any(len(part.encode()) > MAX_NAME_BYTES for part in parts)
    ):
        raise _refused(f"the path {name[:80]!r}… is too long or too deep")
    return path


def _link_target(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> str:
    if info.file_size > MAX_PATH_BYTES:
        raise _refused(f"the target of the link {path!r} is too long")
    target = b"".join(_inflate(archive, info, MAX_PATH_BYTES, None)).decode()
    if not target or "\0" in target or target.startswith("/"):
        raise _refused(f"the link {path!r} leads out of the package")
    return target


def _refused(why: str) -> PlatformError:
    return PlatformError(ErrorCode.INVALID_PARAMETER, f"{MALFORMED} ({why})")


# ---------------------------------------------------------------- writing


def _fill(
    target: Path, archive: zipfile.ZipFile, plan: _Plan, cancel: threading.Event | None
) -> PackageFacts:
    for path in sorted(plan.directories):  # parents sort before what is in them
        (target / path).mkdir(mode=0o700)
    unpacked_bytes = 0
    for path, info in plan.files.items():
        room_bytes = MAX_UNPACKED_BYTES - unpacked_bytes
        executable = 0o111 if info.external_attr >> 16 & 0o111 else 0
        descriptor = os.open(
            target / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600
        )
        try:
            for chunk in _inflate(archive, info, room_bytes, cancel):
                unpacked_bytes += len(chunk)
                _write_all(descriptor, chunk)
            os.fchmod(descriptor, 0o444 | executable)
        finally:
            os.close(descriptor)
        _set_time(target / path, info)
    for path, link in plan.links.items():
        (target / path).symlink_to(link)
    for path in sorted(plan.directories, reverse=True):
        (target / path).chmod(0o555)
    target.chmod(0o555)
    return plan.facts(unpacked_bytes)


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _set_time(path: Path, info: zipfile.ZipInfo) -> None:
    """The package's times, in UTC as on AWS: compiled Python in it is checked against them."""
    try:
        time_s = max(_EPOCH_S, calendar.timegm((*info.date_time, 0, 0, 0)))
    except ValueError:  # a month 0, a day 31 in February
        time_s = _EPOCH_S
    os.utime(path, (time_s, time_s))
