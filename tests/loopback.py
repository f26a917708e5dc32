"""Processes that tests start, on ports of the loopback."""

from __future__ import annotations

import socket
import subprocess
import time

POLL_S = 0.05


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def await_port(port: int, process: subprocess.Popen[bytes], deadline_s: float) -> None:
    """Return once something listens; fails where the process has ended or the time is up."""
    give_up_at = time.monotonic() + deadline_s
    while not _listens(port):
        assert time.monotonic() < give_up_at, f"nothing listens on {port} in time"
        try:
            status = process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"ended with {status}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
