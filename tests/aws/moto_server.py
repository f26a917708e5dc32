"""moto's server: queues, topics, buses, buckets and streams for tests, in a process of its own."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from tests.server import clean_environment

START_DEADLINE_S = 60
REGION = "us-east-1"
ACCOUNT = "123456789012"
"""moto's own, in the ARNs of what it makes."""


class Moto:
    """A running server. Tests share it: what they make in it has names of their own."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._clients: dict[tuple[str, str], Any] = {}

    def client(self, service: str, region: str = REGION) -> Any:
        """A boto3 client of `sqs`, `events`, …."""
        if (service, region) not in self._clients:
            self._clients[service, region] = boto3.client(
                service,
                endpoint_url=self.endpoint,
                region_name=region,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
        return self._clients[service, region]

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients.values():
            client.close()


@contextlib.contextmanager
def running_moto() -> Iterator[Moto]:
    """Start it on a free port, end it after the block."""
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", "0"],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = iter(process.stderr)
    # It logs each request, and would wait if nobody read that.
    reader = threading.Thread(target=lambda: [None for _ in lines])
    try:
        moto = Moto(_endpoint_in(lines, process))
        reader.start()
        with contextlib.closing(moto):
            yield moto
    finally:
        process.kill()
        process.wait()
        if reader.ident is not None:
            reader.join()
        process.stderr.close()


def _endpoint_in(lines: Iterator[str], process: subprocess.Popen[str]) -> str:
    """The URL in what it prints when it is ready."""
    watchdog = threading.Timer(START_DEADLINE_S, process.kill)
    watchdog.start()
    try:
        printed = []
        for line in lines:
            if found := re.search(r"Running on (http://\S+)", line):
                return found[1]
            printed.append(line)
        raise AssertionError("moto did not start:\n" + "".join(printed))
    finally:
        watchdog.cancel()
