"""A server in a process of its own, for one block: started, waited for, and gone after it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.connection import Address

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


class NotAvailableError(Exception):
    """Something that a benchmark compares with cannot run here: why. Its rows are skipped."""


@dataclass(frozen=True, slots=True)
class Service:
    """A started server."""

    process: subprocess.Popen[bytes]
    output: Path
    """Where its stdout and stderr go."""

    def printed(self) -> str:
        """What it has written so far."""
        return self.output.read_text(errors="replace")


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    directory: Path,
    name: str,
    ready: Callable[[Service], bool],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Service]:
    """Run a server until the block ends. Raises `NotAvailableError` where it does not start."""
    output = directory / f"{name}.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, **(env or {})},
            cwd=cwd or directory,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the benchmark, which stops it in order
            preexec_fn=_die_with_parent,
        )
    service = Service(process, output)
    try:
        _wait_until_ready(service, name, ready)
        yield service
    finally:
        _stop(process)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _wait_until_ready(service: Service, name: str, ready: Callable[[Service], bool]) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while not ready(service):
        if service.process.poll() is not None:
            raise NotAvailableError(f"{name} ended at once: {_last_words(service)}")
        if time.monotonic() > deadline:
            raise NotAvailableError(f"{name} was not ready in time: {_last_words(service)}")
        time.sleep(_POLL_S)


def _last_words(service: Service) -> str:
    lines = [line.strip() for line in service.printed().splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-400:] or "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, patience, then SIGKILL to all that it started."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def listens(address: Address) -> Callable[[Service], bool]:
    """Ready when it accepts connections."""

    def ready(_: Service) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((address.host, address.port), 1.0).close()
            return True
        return False

    return ready


def free_address() -> Address:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", probe.getsockname()[1])
