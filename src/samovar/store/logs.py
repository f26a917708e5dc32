"""What functions print, in files: the `LogStore` of `stores.py`.

How this works. `append` puts text into a buffer and returns; a thread writes the buffers out, a
few times a second. A kill of the process loses what the buffers hold, and no more. A function that
prints faster than the disk takes it fills its own buffer, and what then does not fit is dropped
and counted: its next lines say how much is missing. Each function has two files, so the newest
log is there whole also just after a rotation.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from samovar.model.function import FunctionId
from samovar.telemetry.log import get_logger

log = get_logger("logs")

FILE_BYTES = 10 * 1024 * 1024
"""A function keeps two files of at most this size."""

BUFFER_BYTES = 1024 * 1024
"""What one function may have in memory, not yet written; a follower's backlog too."""

BUFFERS_BYTES = 32 * 1024 * 1024
"""What all functions together may."""

FLUSH_INTERVAL_S = 0.25
"""The oldest text in a buffer is not much older than this."""

_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")
_MAX_STEM_CHARS = 160


@dataclass(slots=True)
class _Buffer:
    """Text that is not written yet."""

    texts: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    dropped_bytes: int = 0

    def content(self) -> bytes:
        note = b""
        if self.dropped_bytes:
            note = b"\n[samovar: %d bytes of log were dropped here]\n" % self.dropped_bytes
        return b"".join((*self.texts, note))


class FileLogStore:
    """The `LogStore` over a directory, readable to us alone. Call `close` last."""

    def __init__(
        self,
        directory: Path,
        *,
        file_bytes: int = FILE_BYTES,
        buffer_bytes: int = BUFFER_BYTES,
        flush_interval_s: float = FLUSH_INTERVAL_S,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._file_bytes = file_bytes
        self._buffer_bytes = buffer_bytes
        self._flush_interval_s = flush_interval_s
        self._files = threading.Lock()  # taken before `_changed`, never while holding it
        self._changed = threading.Condition(threading.Lock())
        self._buffers: dict[FunctionId, _Buffer] = {}
        self._buffered_bytes = 0
        self._followers: dict[FunctionId, weakref.WeakSet[_Follower]] = {}
        self._continued: set[FunctionId] = set()
        self._failing = False
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="logs", daemon=True)
        self._writer.start()

    def append(self, function: FunctionId, text: bytes) -> None:
        """Keep text, or count it as dropped. Never waits for the disk, never fails."""
        if not text:
            return
        with self._changed:
            if self._closing:
                return
            buffer = self._buffers.get(function)
            if buffer is None:
                buffer = self._buffers[function] = _Buffer()
            room_bytes = min(
                self._buffer_bytes - buffer.size_bytes, BUFFERS_BYTES - self._buffered_bytes
            )
            kept = text[: max(0, room_bytes)]
            buffer.dropped_bytes += len(text) - len(kept)
            if kept:
                buffer.texts.append(kept)
                buffer.size_bytes += len(kept)
                self._buffered_bytes += len(kept)
            if self._buffered_bytes == len(kept) or self._is_pressing():
                self._changed.notify()
            for follower in tuple(self._followers.get(function, ())):
                follower.offer(text)

    def read(self, function: FunctionId, *, max_bytes: int) -> bytes:
        """The newest whole lines, `max_bytes` at most. Blocks for a read of a file."""
        return self._read(function, max_bytes, None) if max_bytes > 0 else b""

    def _read(self, function: FunctionId, max_bytes: int, joining: _Follower | None) -> bytes:
        with self._files:
            with self._changed:
                if joining is not None:
                    # Between what is buffered now and what is offered next, nothing is missed.
                    self._join(function, joining)
                buffer = self._buffers.get(function)
                newest = b"" if buffer is None else buffer.content()
            for path in self._paths(function):
                # One byte more than asked for tells whether the first line is whole.
                missing_bytes = max_bytes + 1 - len(newest)
                if missing_bytes > 0:
                    newest = _tail(path, missing_bytes) + newest
        if len(newest) <= max_bytes:
            return newest
        newest = newest[-max_bytes - 1 :]
        _, newline, whole = newest.partition(b"\n")
        return whole if newline else newest[1:]

    async def follow(
        self, function: FunctionId, *, tail_bytes: int = 0
    ) -> tuple[bytes, AsyncIterator[bytes]]:
        """What `read` gives, and all that is appended after it, until cancelled, `delete` or
        `close`. Slow readers miss text, and are told how much."""
        follower = _Follower(asyncio.get_running_loop(), self._buffer_bytes)
        if tail_bytes > 0:
            return await asyncio.to_thread(self._read, function, tail_bytes, follower), follower
        with self._changed:
            self._join(function, follower)
        return b"", follower

    def _join(self, function: FunctionId, follower: _Follower) -> None:
        if self._closing:
            follower.end()
        self._followers.setdefault(function, weakref.WeakSet()).add(follower)

    def delete(self, function: FunctionId) -> None:
        """Forget everything that a function has printed, and end those who follow it: what a later
        function of its name prints is not theirs. Blocks for a moment."""
        with self._files:
            with self._changed:
                for follower in tuple(self._followers.pop(function, ())):
                    follower.end()
                buffer = self._buffers.pop(function, None)
                if buffer is not None:
                    self._buffered_bytes -= buffer.size_bytes
            for path in self._paths(function):
                path.unlink(missing_ok=True)
            self._continued.discard(function)

    def flush(self) -> None:
        """Write out what is buffered. Blocks."""
        with self._files:
            with self._changed:
                buffers, self._buffers = self._buffers, {}
                self._buffered_bytes = 0
                for function in [f for f, readers in self._followers.items() if not readers]:
                    del self._followers[function]
            for function, buffer in buffers.items():
                self._write_out(function, buffer.content())

    async def close(self) -> None:
        """Write out what is buffered, end those who follow, take no more. Idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            for readers in self._followers.values():
                for follower in tuple(readers):
                    follower.end()
        await asyncio.to_thread(self._writer.join)

    # ------------------------------------------------------------ the writer

    def _is_pressing(self) -> bool:
        """Whether to write now rather than to gather some more."""
        return self._closing or 2 * self._buffered_bytes > self._buffer_bytes

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._buffers or self._closing)
                self._changed.wait_for(self._is_pressing, timeout=self._flush_interval_s)
                last = self._closing
            self.flush()
            if last:
                return

    def _write_out(self, function: FunctionId, text: bytes) -> None:
        """Append to a function's file, rotating it when full. A full disk costs the text only."""
        current, previous = self._paths(function)
        text = text[-self._file_bytes :]
        try:
            size_bytes = current.stat().st_size if current.exists() else 0
            if size_bytes and size_bytes + len(text) > self._file_bytes:
                current.replace(previous)
            elif size_bytes and function not in self._continued and _tail(current, 1) != b"\n":
                text = b"\n" + text  # an earlier life was cut short within a line
            self._continued.add(function)
            with open(os.open(current, _APPEND, 0o600), "ab") as file:  # noqa: PTH123
                file.write(text)
        except OSError as error:
            if not self._failing:
                log.warning("cannot write the logs of functions", error=str(error))
            self._failing = True
        else:
            self._failing = False

    def _paths(self, function: FunctionId) -> tuple[Path, Path]:
        stem = "@".join(map(_quoted, (function.account, function.region, function.name)))
        if len(stem) > _MAX_STEM_CHARS:
            digest = hashlib.sha256(stem.encode()).hexdigest()
            stem = f"{stem[: _MAX_STEM_CHARS - 65]}@{digest}"
        return self._directory / f"{stem}.log", self._directory / f"{stem}.log.1"


_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class _Follower:
    """One reader of what is being appended: an asynchronous iterator."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_bytes: int) -> None:
        self._loop = loop
        self._max_bytes = max_bytes
        self._texts: deque[bytes] = deque()
        self._size_bytes = 0
        self._dropped_bytes = 0
        self._ended = False
        self._news = asyncio.Event()

    def offer(self, text: bytes) -> None:
        """Called on any thread."""
        self._later(text)

    def end(self) -> None:
        """Called on any thread: no more will come."""
        self._later(None)

    def _later(self, text: bytes | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._take, text)

    def _take(self, text: bytes | None) -> None:
        if text is None:
            self._ended = True
        elif self._size_bytes + len(text) > self._max_bytes:
            self._dropped_bytes += len(text)
        else:
            self._texts.append(text)
            self._size_bytes += len(text)
        self._news.set()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while True:
            self._news.clear()
            if self._texts:
                text = self._texts.popleft()
                self._size_bytes -= len(text)
                return text
            if self._dropped_bytes:
                dropped, self._dropped_bytes = self._dropped_bytes, 0
                return b"\n[samovar: %d bytes of log were left out here]\n" % dropped
            if self._ended:
                raise StopAsyncIteration
            await self._news.wait()


def _quoted(name: str) -> str:
    """Any text as a file name that keeps apart what differs."""
    return _UNSAFE.sub(
        lambda found: b"%%%02X" % found[0][0], name.encode("utf-8", "surrogatepass")
    ).decode()


def _tail(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(0, size_bytes - max_bytes))
            return file.read(max_bytes)
    except OSError:
        return b""
