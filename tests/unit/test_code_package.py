"""Zips from strangers."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import MAX_UNPACKED_BYTES
from samovar.worker.code_package import (
    EMPTY,
    MALFORMED,
    MAX_ENTRIES,
    TOO_LARGE,
    UnpackCancelledError,
    check_package,
    inspect,
    remove_tree,
    unpack,
)

Entry = tuple[str | zipfile.ZipInfo, bytes]


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (2024, 2, 29, 12, 30, 2))
    info.filename = info.orig_filename = name  # as it is: ZipInfo cuts at a NUL
    info.external_attr = mode << 16
    info.create_system = 3
    return info


def make_zip(*entries: Entry, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # duplicate names
        for name, content in entries:
            archive.writestr(name, content, compress_type=compression)
    return buffer.getvalue()


def link(name: str, target: str) -> Entry:
    return entry(name, stat.S_IFLNK | 0o777), target.encode()


GOOD: Entry = ("handler.py", b"def handler(event, context): return event\n")


def patched(package: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """The package with some bytes of every header of a kind replaced."""
    changed = bytearray(package)
    at = changed.find(signature)
    while at >= 0:
        changed[at + offset : at + offset + len(value)] = value
        at = changed.find(signature, at + 4)
    return bytes(changed)


def in_headers(package: bytes, *, local: int, central: int, value: bytes) -> bytes:
    return patched(patched(package, b"PK\3\4", local, value), b"PK\1\2", central, value)


def overlapping() -> bytes:
    """Two entries whose headers differ and whose bytes are the same."""
    package = make_zip(("a", b"x" * 1000), ("b", b"x" * 1000))
    central = package.find(b"PK\1\2", package.find(b"PK\1\2") + 1)
    changed = bytearray(package)
    changed[central + 42 : central + 46] = struct.pack("<I", 0)  # the offset of `a`
    changed[central + 46 : central + 47] = b"a"
    return bytes(changed)


def lying_about_its_size() -> bytes:
    """It says one byte, and inflates to a megabyte."""
    package = make_zip(("a", b"\0" * (1 << 20)))
    return in_headers(package, local=22, central=24, value=struct.pack("<I", 1))


def quoted_bomb() -> bytes:
    """Nested by quoting: each entry's deflate stream holds the header of the next as literals."""
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = body.compress(b"\0" * (1 << 20)) + body.flush()
    crc = zlib.crc32(b"\0" * (1 << 20))
    names = [b"a", b"b"]
    last = (
        struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(kernel), 1 << 20, 1, 0)
        + names[1]
        + kernel
    )
    header_bytes = 31
    quote = struct.pack("<BHH", 0, header_bytes, header_bytes ^ 0xFFFF)
    first_content = last[:header_bytes] + b"\0" * (1 << 20)
    first = (
        struct.pack(
            "<4s5H3I2H",
            b"PK\3\4",
            20,
            0,
            8,
            0,
            0,
            zlib.crc32(first_content),
            len(quote) + len(last),
            len(first_content),
            1,
            0,
        )
        + names[0]
        + quote
    )
    data = first + last
    central = b"".join(
        struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc_, packed, size, 1, 0, 0, 0, 0, 0, at
        )
        + name
        for name, crc_, packed, size, at in (
            (b"a", zlib.crc32(first_content), len(quote) + len(last), len(first_content), 0),
            (b"b", crc, len(kernel), 1 << 20, len(first)),
        )
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(central), len(data), 0)
    return data + central + end


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no bytes": (lambda: b"", EMPTY),
    "no entries": (lambda: make_zip(), EMPTY),
    "not a zip": (lambda: b"#!/bin/sh\nexit 1\n" * 100, MALFORMED),
    "cut short": (lambda: make_zip(GOOD)[:-10], MALFORMED),
    "cut at the front": (lambda: make_zip(GOOD)[10:], MALFORMED),
    "a broken checksum": (
        lambda: in_headers(make_zip(GOOD), local=14, central=16, value=b"\1\2\3\4"),
        MALFORMED,
    ),
    "a name that is no UTF-8": (
        lambda: make_zip(("é.py", b"")).replace("é".encode(), b"\xff\xff"),
        MALFORMED,
    ),
    "names that differ between headers": (
        lambda: patched(make_zip(GOOD), b"PK\1\2", 46, b"H"),
        MALFORMED,
    ),
    "an absolute path": (lambda: make_zip((entry("/etc/cron.d/x"), b"")), "relative path"),
    "a path that climbs": (lambda: make_zip((entry("../x"), b"")), "leads out"),
    "a path that climbs later": (lambda: make_zip((entry("a/../../x"), b"")), "leads out"),
    "a path that climbs and returns": (lambda: make_zip((entry("a/../x"), b"")), "leads out"),
    "a drive": (lambda: make_zip((entry("C:/x"), b"")), "relative path"),
    "backslashes": (lambda: make_zip((entry("..\\x"), b"")), "relative path"),
    "a NUL in a name": (lambda: make_zip((entry("a.py\0.txt"), b"")), "relative path"),
    "a long name": (lambda: make_zip((entry("n" * 256), b"")), "too long"),
    "a long path": (lambda: make_zip((entry("/".join(["n" * 250] * 5)), b"")), "too long"),
    "a deep path": (lambda: make_zip((entry("d/" * 70 + "f"), b"")), "too deep"),
    "one name twice": (lambda: make_zip(GOOD, GOOD), "twice"),
    "one name in two spellings": (lambda: make_zip(("a/b", b""), ("./a//b", b"")), "twice"),
    "a file with files in it": (lambda: make_zip(("a", b""), ("a/b", b"")), "both a directory"),
    "a directory with content": (lambda: make_zip((entry("a/"), b"x")), "with content"),
    "a device": (lambda: make_zip((entry("null", stat.S_IFCHR | 0o666), b"")), "neither"),
    "a fifo": (lambda: make_zip((entry("pipe", stat.S_IFIFO | 0o666), b"")), "neither"),
    "a socket": (lambda: make_zip((entry("sock", stat.S_IFSOCK | 0o666), b"")), "neither"),
    "an absolute link": (lambda: make_zip(link("l", "/etc/passwd")), "leads out"),
    "a link that climbs": (lambda: make_zip(link("a/l", "../../etc/passwd")), "leads out"),
    "links that climb together": (
        lambda: make_zip(("a/b/f", b""), link("up", "a/b"), link("out", "up/../../../x")),
        "leads out",
    ),
    "a link that climbs through a later link": (
        lambda: make_zip(link("out", "d/up/x"), link("d/up", "e/../../..")),
        "leads out",
    ),
    "a circle of links": (lambda: make_zip(link("a", "b"), link("b", "a")), "circles"),
    "a link to nothing": (lambda: make_zip(link("a", "")), "leads out"),
    "a link with a NUL": (lambda: make_zip(link("a", "b\0c")), "leads out"),
    "a file through a link": (
        lambda: make_zip(link("d", "e"), ("d/f", b"")),
        "both a directory",
    ),
    "a link in place of a file's directory": (
        lambda: make_zip(("d/f", b""), link("d", "e")),
        "both a directory",
    ),
    "encrypted": (
        lambda: in_headers(make_zip(GOOD), local=6, central=8, value=b"\1\0"),
        "encrypted",
    ),
    "bzip2": (lambda: make_zip(GOOD, compression=zipfile.ZIP_BZIP2), "unusual"),
    "lzma": (lambda: make_zip(GOOD, compression=zipfile.ZIP_LZMA), "unusual"),
    "an unknown compression": (
        lambda: in_headers(make_zip(GOOD), local=8, central=10, value=b"\x63\0"),
        "unusual",
    ),
    "entries that share their bytes": (overlapping, "overlap"),
    "entries that quote each other": (quoted_bomb, "overlap"),
    "a size that lies low": (lying_about_its_size, MALFORMED),
    "a size that lies high": (
        lambda: in_headers(make_zip(GOOD), local=22, central=24, value=struct.pack("<I", 1 << 20)),
        MALFORMED,
    ),
    "a size over the limit": (
        lambda: in_headers(
            make_zip(GOOD), local=22, central=24, value=struct.pack("<I", MAX_UNPACKED_BYTES + 1)
        ),
        TOO_LARGE,
    ),
    "a million entries": (lambda: b"PK\1\2" * (MAX_ENTRIES + 1), "more than"),
    "too many directories": (
        lambda: make_zip(
            *((entry(f"{n:x}/" + "d/" * 60 + "f"), b"") for n in range(MAX_ENTRIES // 60 + 1))
        ),
        "more than",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_package_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    make, words = HOSTILE[name]
    package = make()
    with pytest.raises(PlatformError) as inspected:
        inspect(package)
    with pytest.raises(PlatformError) as unpacked:
        unpack(package, tmp_path / "code")
    assert inspected.value.code is ErrorCode.INVALID_PARAMETER
    assert words in inspected.value.message
    assert unpacked.value.message == inspected.value.message
    assert list(tmp_path.iterdir()) == []


def test_what_is_malformed_is_refused_in_awss_words() -> None:
    with pytest.raises(PlatformError) as refused:
        inspect(b"not a zip")
    assert refused.value.message == MALFORMED


def test_a_bomb_is_refused_by_what_comes_out_of_it() -> None:
    zeros = b"\0" * (MAX_UNPACKED_BYTES // 4)
    package = make_zip(*((f"{n}", zeros) for n in range(5)))
    assert len(package) < 2 << 20
    with pytest.raises(PlatformError) as refused:
        inspect(package)
    assert refused.value.message == TOO_LARGE


def test_a_package_over_the_upload_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(PlatformError, match="Zipped size must be smaller than 100 bytes"):
        inspect(b"x" * 101, max_packed_bytes=100)


def test_a_package_is_unpacked_as_it_was_packed(tmp_path: Path) -> None:
    package = make_zip(
        GOOD,
        (entry("./lib/"), b""),
        (entry("lib/tool", stat.S_IFREG | 0o6755), b"#!/bin/sh\n"),
        link("bin/tool", "../lib/./tool"),
        link("bin/again", "tool"),
        ("lib/nested/größe.txt", "ß".encode() * 3_000_000),
    )
    facts = unpack(package, tmp_path / "code")
    assert (tmp_path / "code/handler.py").read_bytes() == GOOD[1]
    assert (tmp_path / "code/bin/again").resolve() == tmp_path / "code/lib/tool"
    assert (tmp_path / "code/lib/nested/größe.txt").stat().st_size == 6_000_000
    assert facts == inspect(package)
    assert (facts.files, facts.directories) == (5, 3)
    remove_tree(tmp_path / "code")


def test_everybody_may_read_and_nobody_may_write(tmp_path: Path) -> None:
    package = make_zip(
        (entry("secret", stat.S_IFREG | 0o600), b""),
        (entry("no-mode", 0), b""),
        (entry("tool", stat.S_IFREG | 0o7777), b""),
        (entry("d/", stat.S_IFDIR | 0o700), b""),
    )
    unpack(package, tmp_path / "code")
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "code", *(tmp_path / "code").iterdir()]
    }
    assert modes == {"code": 0o555, "secret": 0o444, "no-mode": 0o444, "tool": 0o555, "d": 0o555}
    assert (tmp_path / "code/secret").stat().st_uid == os.getuid()
    remove_tree(tmp_path / "code")


def test_files_keep_the_time_of_the_package_so_that_compiled_python_stays_valid(
    tmp_path: Path,
) -> None:
    unpack(make_zip((entry("handler.py"), b"")), tmp_path / "code")
    assert (tmp_path / "code/handler.py").stat().st_mtime == 1_709_209_802  # 2024-02-29 12:30:02
    remove_tree(tmp_path / "code")


def test_an_impossible_date_is_no_reason_to_fail(tmp_path: Path) -> None:
    package = in_headers(make_zip(GOOD), local=12, central=14, value=b"\xff\xff")
    unpack(package, tmp_path / "code")
    remove_tree(tmp_path / "code")


def test_a_package_behind_a_script_is_read_like_any_other(tmp_path: Path) -> None:
    assert inspect(b"#!/usr/bin/env python3\n" + make_zip(GOOD)).files == 1


def test_a_cancelled_unpacking_leaves_nothing(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(UnpackCancelledError):
        unpack(make_zip(GOOD), tmp_path / "code", cancel=cancel)
    assert list(tmp_path.iterdir()) == []


def test_unpacking_over_something_harms_neither(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/mine").touch()
    with pytest.raises(FileExistsError):
        unpack(make_zip(GOOD), tmp_path / "code")
    assert (tmp_path / "code/mine").exists()


SAMPLE = make_zip(GOOD, (entry("d/"), b""), ("d/f", b"f" * 2000), link("l", "d/f"))


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=6))
def test_a_damaged_package_is_either_sound_or_refused(damage: list[tuple[int, int]]) -> None:
    package = bytearray(SAMPLE)
    for at, value in damage:
        package[at] = value
    with contextlib.suppress(PlatformError):
        inspect(bytes(package))


async def test_the_inspector_takes_a_sound_package_and_refuses_another() -> None:
    await check_package(make_zip(GOOD))
    with pytest.raises(PlatformError):
        await check_package(b"x")
