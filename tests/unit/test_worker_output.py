"""What an instance prints: into the log, the last 4 KiB to who asks, and never without bound."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

import pytest

from samovar.worker.output import CHUNK_BYTES, DRAIN_BYTES, TAIL_BYTES, Output
from tests.unit.scripted_worker import settled, until


class Pipe:
    """An instance's stdout, and its log."""

    def __init__(self):
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.log = []
        self.output = Output(self.read_fd, self.log.append)

    def print(self, text):
        return os.write(self.write_fd, text)

    @property
    def text(self):
        return b"".join(self.log)


@pytest.fixture
async def pipe():
    made = Pipe()
    yield made
    made.output.close()
    for fd in (made.read_fd, made.write_fd):
        with contextlib.suppress(OSError):
            os.close(fd)


async def test_what_is_printed_goes_to_the_log_without_being_asked_for(pipe):
    pipe.print(b"hello\n")
    await until(lambda: pipe.text == b"hello\n")


async def test_a_line_of_ours_begins_where_the_function_left_one_unfinished(pipe):
    pipe.output.begin(b"START\n")
    pipe.print(b"no end")
    pipe.output.drain()
    pipe.output.write(b"END\n")
    assert pipe.text == b"START\nno end\nEND\n"


async def test_draining_takes_what_is_there_now(pipe):
    pipe.print(b"hello\n")
    pipe.output.drain()
    assert pipe.text == b"hello\n"


async def test_the_tail_is_the_last_4_kib_since_the_beginning_of_an_invocation(pipe):
    pipe.output.begin(b"START 1\n").end()
    pipe.output.write(b"old\n")
    tail = pipe.output.begin(b"START 2\n")
    assert tail.text() == b"START 2\n"
    for number in range(1000):
        pipe.output.write(b"line %d\n" % number)
    assert len(tail.text()) == TAIL_BYTES
    assert pipe.text.endswith(tail.text())


async def test_the_tails_of_invocations_at_once_have_what_came_during_each(pipe):
    first = pipe.output.begin(b"START 1\n")
    second = pipe.output.begin(b"START 2\n")
    pipe.output.write(b"both\n")
    first.end()
    pipe.output.write(b"END 2\n")
    second.end()
    assert first.text() == b"START 1\nSTART 2\nboth\n"
    assert second.text() == b"START 2\nboth\nEND 2\n"


async def test_who_begins_while_another_prints_begins_a_line(pipe):
    pipe.output.begin(b"START 1\n")
    pipe.print(b"in the midst of")
    pipe.output.drain()
    assert pipe.output.begin(b"START 2\n").text() == b"\nSTART 2\n"


async def test_a_flood_of_small_writes_is_not_read_at_full_speed(pipe):
    await until(lambda: pipe.print(b".") and pipe.output._resting)
    rested = pipe.output._resting
    pipe.print(b"more")
    await until(lambda: pipe.text.endswith(b"more"))  # it goes on after its rest
    assert rested.when() <= asyncio.get_running_loop().time()


async def test_a_function_that_prints_faster_than_anybody_reads_does_not_hold_the_worker(pipe):
    os.set_blocking(pipe.write_fd, True)
    stop = threading.Event()

    def flood():
        with contextlib.suppress(OSError):
            while not stop.is_set():
                pipe.print(b"x" * CHUNK_BYTES)

    writer = threading.Thread(target=flood)
    writer.start()
    try:
        for _ in range(5):
            before = len(pipe.text)
            pipe.output.drain()
            assert len(pipe.text) - before <= DRAIN_BYTES + CHUNK_BYTES
    finally:
        stop.set()
        pipe.output.close()
        os.close(pipe.read_fd)  # the writer's next write fails
        writer.join()


async def test_the_end_of_the_pipe_ends_the_reading_and_lines_of_ours_still_come(pipe):
    pipe.print(b"last words\n")
    os.close(pipe.write_fd)
    await until(lambda: pipe.output._closed)
    pipe.output.write(b"END\n")
    pipe.output.drain()
    assert pipe.text == b"last words\nEND\n"


async def test_closing_twice_or_while_it_rests_is_no_error(pipe):
    await until(lambda: pipe.print(b".") and pipe.output._resting)
    pipe.output.close()
    pipe.output.close()
    read = len(pipe.text)
    pipe.print(b"more")
    await settled()
    assert len(pipe.text) == read
