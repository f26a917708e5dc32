"""A server of a command's own: `samovar up` as a child, which ends with whoever started it."""

from __future__ import annotations

import contextlib
import fcntl
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from samovar.cli.failure import CommandError

DEFAULT_PORT = 9000
DEFAULT_DATA_DIR = Path(".samovar")
DRAIN_TIMEOUT_S = 0.5
START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the server is to be; None: as `samovar up` would be."""

    isolation: str | None = None
    data_dir: Path | None = None
    port: int | None = None


@contextlib.contextmanager
def own_server(wanted: Wanted, terminal: str | None = None) -> Iterator[str]:
    """Run one for the block; yields its ready line. Its own log goes to stderr. `terminal`: the
    path of the one where `breakpoint()` may speak to a person.

    It takes another port where the default one is taken, and keeps its data in a temporary folder
    where another server has the default one. Raises `CommandError` where it does not start."""
    with contextlib.ExitStack() as stack:
        data_dir = wanted.data_dir or stack.enter_context(_data_dir())
        port = _free_port() if wanted.port is None else wanted.port
        flags = ["--port", str(port), "--data-dir", str(data_dir), "--no-examples"]
        flags += ["--drain-timeout", str(DRAIN_TIMEOUT_S), "--end-with-stdin"]
        if wanted.isolation:
            flags += ["--isolation", wanted.isolation]
        if terminal:
            flags += ["--terminal", terminal]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "samovar", "up", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, who then end it
        )
        stack.callback(_stop, process)
        yield _ready_line(process)


def _ready_line(process: subprocess.Popen[str]) -> str:
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    assert process.stdout
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=START_LIMIT_S)
        except queue.Empty:
            line = ""
        if not line:
            raise CommandError("the server did not start", "it says above why")
        if line.startswith("samovar ready "):
            return line.strip()


def _read(stdout: IO[str], lines: queue.SimpleQueue[str]) -> None:
    """To its end, or it would wait for us."""
    with contextlib.suppress(ValueError), stdout:
        for line in stdout:
            lines.put(line)
    lines.put("")


def _stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _data_dir() -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError), (DEFAULT_DATA_DIR / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with tempfile.TemporaryDirectory(prefix="samovar-dev-") as directory:
                yield Path(directory)
            return
    yield DEFAULT_DATA_DIR


def _free_port() -> int:
    """The default one, or 0: any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            return 0
    return DEFAULT_PORT
