"""What every `LogStore` does, and what the one in files does beside."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from samovar.model.function import FunctionId
from samovar.store.logs import FileLogStore
from tests.contract.samples import function_id

F = function_id("f")
G = function_id("g")
EVERYTHING = 1 << 30


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
async def store(directory: Path) -> AsyncIterator[FileLogStore]:
    store = FileLogStore(directory)
    yield store
    await store.close()


def contents(directory: Path) -> list[bytes]:
    """Of every file of the store."""
    return [path.read_bytes() for path in directory.iterdir()]


@contextmanager
def gone(directory: Path) -> Iterator[None]:
    """Nothing can be written there while the block lasts."""
    directory.rename(directory.with_name("elsewhere"))
    yield
    directory.mkdir()


def modes(*paths: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in paths}


async def test_what_is_appended_can_be_read_at_once(store: FileLogStore) -> None:
    store.append(F, b"one\n")
    store.append(G, b"other\n")
    store.append(F, b"two\n")
    assert store.read(F, max_bytes=EVERYTHING) == b"one\ntwo\n"


async def test_it_is_written_out_without_being_asked(store: FileLogStore, directory: Path) -> None:
    store.append(F, b"one\n")
    async with asyncio.timeout(20):
        while contents(directory) != [b"one\n"]:
            await asyncio.to_thread(store.read, F, max_bytes=1)


async def test_logs_survive_a_restart(store: FileLogStore, directory: Path) -> None:
    store.append(F, b"before\n")
    await store.close()
    again = FileLogStore(directory)
    again.append(F, b"after\n")
    assert again.read(F, max_bytes=EVERYTHING) == b"before\nafter\n"
    await again.close()


async def test_a_line_that_a_crash_cut_short_stays_a_line_of_its_own(
    store: FileLogStore, directory: Path
) -> None:
    store.append(F, b"torn")
    await store.close()
    again = FileLogStore(directory)
    again.append(F, b"START\n")
    await again.close()
    assert again.read(F, max_bytes=EVERYTHING) == b"torn\nSTART\n"


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(
    ("max_bytes", "expected"),
    [
        (0, b""),
        (1, b"\n"),
        (4, b"ccc\n"),
        (5, b"ccc\n"),
        (7, b"ccc\n"),
        (8, b"bbb\nccc\n"),
        (12, b"aaa\nbbb\nccc\n"),
        (99, b"aaa\nbbb\nccc\n"),
    ],
)
async def test_reading_gives_the_newest_whole_lines(
    max_bytes: int, expected: bytes, flushed: bool, store: FileLogStore
) -> None:
    for text in (b"aaa\n", b"bbb\nccc\n"):
        store.append(F, text)
        if flushed:
            store.flush()
    found = store.read(F, max_bytes=max_bytes)
    assert found == expected if max_bytes != 1 else len(found) <= 1


async def test_a_line_longer_than_what_is_asked_for_is_cut(store: FileLogStore) -> None:
    store.append(F, b"x" * 100)
    assert store.read(F, max_bytes=10) == b"x" * 10


async def test_logs_are_bounded_and_the_newest_are_kept(directory: Path) -> None:
    store = FileLogStore(directory, file_bytes=1000)
    for number in range(1000):
        store.append(F, b"line %04d\n" % number)
        store.flush()
    lines = store.read(F, max_bytes=EVERYTHING).splitlines()
    assert sum(map(len, contents(directory))) <= 2000
    assert lines == [b"line %04d" % number for number in range(1000 - len(lines), 1000)]
    assert len(lines) >= 100
    await store.close()


async def test_a_function_that_prints_too_fast_loses_its_own_lines_only(directory: Path) -> None:
    store = FileLogStore(directory, buffer_bytes=100, flush_interval_s=60)
    with store._files:  # the disk does not answer
        for _ in range(50):
            store.append(F, b"0123456789")
        store.append(G, b"quiet\n")
    assert b"[samovar: 400 bytes of log were dropped here]" in store.read(F, max_bytes=EVERYTHING)
    assert store.read(G, max_bytes=EVERYTHING) == b"quiet\n"
    await store.close()


async def test_a_disk_that_fails_costs_the_text_and_nothing_else(directory: Path) -> None:
    store = FileLogStore(directory)
    store.append(F, b"seed\n")
    store.flush()
    with gone(directory):
        store.append(F, b"lost\n")
        store.flush()
    store.append(F, b"kept\n")
    assert store.read(F, max_bytes=EVERYTHING) == b"kept\n"
    await store.close()


async def test_deleting_forgets_one_function_and_no_other(
    store: FileLogStore, directory: Path
) -> None:
    for function in (F, G):
        store.append(function, b"written\n")
    store.flush()
    store.append(F, b"buffered\n")
    store.delete(F)
    assert store.read(F, max_bytes=EVERYTHING) == b""
    assert store.read(G, max_bytes=EVERYTHING) == b"written\n"
    store.delete(FunctionId("nobody", "nowhere", "nothing"))


ODD = [
    "f",
    "F",
    "..",
    ".",
    "",
    "a/b",
    "a@b",
    "a%40b",
    "a%b",
    "/etc/passwd",
    "x\0y",
    "ü",
    "\ud800",
    "n" * 500,
    "n" * 501,
    "*",
]


async def test_any_name_has_a_file_of_its_own_in_the_directory(
    store: FileLogStore, directory: Path
) -> None:
    ids = [FunctionId("a", "r", name) for name in ODD] + [FunctionId("a", "r@f", "")]
    for number, function in enumerate(ids):
        store.append(function, b"%d\n" % number)
    store.flush()
    found = [store.read(function, max_bytes=100) for function in ids]
    assert found == [b"%d\n" % number for number in range(len(ids))]
    assert sorted(contents(directory)) == sorted(found)


async def test_only_the_platforms_user_may_read_what_functions_print(
    store: FileLogStore, directory: Path
) -> None:
    store.append(FunctionId("a", "r", "f"), b"secret\n")
    store.flush()
    assert modes(directory, directory / "a@r@f.log") == {0o700, 0o600}


# ---------------------------------------------------------------- follow


async def test_following_gives_what_is_appended_from_now_on(store: FileLogStore) -> None:
    store.append(F, b"before\n")
    _, news = await store.follow(F)
    store.append(F, b"one\n")
    store.append(G, b"other\n")
    await asyncio.to_thread(store.append, F, b"two\n")
    assert [await anext(news), await anext(news)] == [b"one\n", b"two\n"]


async def test_nothing_is_missed_between_what_is_read_and_what_is_followed(
    store: FileLogStore,
) -> None:
    lines = [b"line %04d\n" % number for number in range(2000)]

    def print_all() -> None:
        for line in lines:
            store.append(F, line)

    printing = asyncio.create_task(asyncio.to_thread(print_all))
    followed = [await store.follow(F, tail_bytes=EVERYTHING) for _ in range(20)]
    await printing
    for text, news in followed:
        while not text.endswith(lines[-1]):
            text += await anext(news)
        assert text == b"".join(lines)


async def test_following_waits_for_what_is_to_come(store: FileLogStore) -> None:
    _, news = await store.follow(F)
    waiting = asyncio.ensure_future(anext(news))
    store.append(F, b"one\n")
    assert await waiting == b"one\n"


async def test_a_slow_follower_is_told_what_it_missed(directory: Path) -> None:
    store = FileLogStore(directory, buffer_bytes=10)
    _, news = await store.follow(F)
    for text in (b"12345\n", b"too long\n", b"123\n"):
        store.append(F, text)
    await store.close()
    assert [text async for text in news] == [
        b"12345\n",
        b"123\n",
        b"\n[samovar: 9 bytes of log were left out here]\n",
    ]


async def test_those_who_follow_are_let_go_at_the_end(store: FileLogStore) -> None:
    following = [await store.follow(F) for _ in range(3)]
    await store.close()
    for _, news in (*following, await store.follow(F), await store.follow(F, tail_bytes=1)):
        with pytest.raises(StopAsyncIteration):
            await anext(news)


async def test_who_follows_a_deleted_function_gets_nothing_of_a_later_one(
    store: FileLogStore,
) -> None:
    _, news = await store.follow(F)
    _, of_another = await store.follow(G)
    store.append(F, b"one\n")
    store.delete(F)
    for function in (F, G):
        store.append(function, b"two\n")
    assert [text async for text in news] == [b"one\n"]
    assert await anext(of_another) == b"two\n"


async def test_a_follower_that_went_away_is_forgotten(store: FileLogStore) -> None:
    _, news = await store.follow(F)
    store.append(F, b"one\n")
    assert await anext(news) == b"one\n"
    del news
    store.append(F, b"two\n")
    store.flush()
    assert not store._followers


async def test_appending_after_the_end_is_no_error(store: FileLogStore) -> None:
    await store.close()
    store.append(F, b"late\n")
    assert store.read(F, max_bytes=EVERYTHING) == b""
