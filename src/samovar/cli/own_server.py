"""A server of a command's own: `samovar up` as a child, which ends with whoever started it."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from samovar import claims
from samovar.cli.failure import CommandError
from samovar.config import Config, ConfigError

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
    with ExitStack() as stack:
        with ExitStack() as claimed:
            place = _place(wanted, stack, claimed)
            flags = [*place.flags, "--no-examples", "--end-with-stdin"]
            flags += ["--drain-timeout", str(DRAIN_TIMEOUT_S)]
            if wanted.isolation:
                flags += ["--isolation", wanted.isolation]
            if terminal:
                flags += ["--terminal", terminal]
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "samovar", "up", *flags],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=place.held,
                start_new_session=True,  # Ctrl-C is for us, who then end it
            )
        stack.callback(_stop, process)
        yield _ready_line(process)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the server is to be."""

    flags: tuple[str, ...]
    held: tuple[int, ...]
    """Descriptors that it takes over: claims, so that no other server comes between."""


def _place(wanted: Wanted, stack: ExitStack, claimed: ExitStack) -> _Place:
    """What was not asked for is chosen and claimed. A temporary folder goes onto `stack`, and onto
    `claimed` what is ours only until the server has it."""
    flags: list[str] = []
    held: list[int] = []
    data_dir = wanted.data_dir
    if data_dir is None:
        lock = _claim_default_data_dir()
        if lock is None:
            folder = tempfile.TemporaryDirectory(prefix="samovar-dev-")
            data_dir = Path(stack.enter_context(folder))
        else:
            claimed.callback(os.close, lock)
            data_dir = DEFAULT_DATA_DIR
            flags += ["--lock-fd", str(lock)]
            held.append(lock)
    flags += ["--data-dir", str(data_dir)]
    if wanted.port is None:
        listener = claimed.enter_context(_listener())
        flags += ["--listener-fd", str(listener.fileno())]
        held.append(listener.fileno())
    else:
        flags += ["--port", str(wanted.port)]
    return _Place(tuple(flags), tuple(held))


def _claim_default_data_dir() -> int | None:
    try:
        return claims.claim_data_dir(DEFAULT_DATA_DIR)
    except OSError as error:
        raise CommandError(
            f"the data directory {DEFAULT_DATA_DIR} cannot be used: {error}",
            "give --data-dir another one",
        ) from error


def _listener() -> socket.socket:
    """At the default port, or at a free one where that is taken."""
    try:
        host = Config.from_sources().host
    except ConfigError as error:
        raise CommandError(str(error), exit_status=2) from error
    for port in (DEFAULT_PORT, 0):
        with contextlib.suppress(OSError):
            return claims.listen(host, port)
    raise CommandError(f"{host} cannot be listened on", "see SAMOVAR_HOST", exit_status=2)


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
