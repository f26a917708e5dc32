"""A real `samovar up` in a process of its own, for tests that speak to it as clients do."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SAMOVAR = Path(sys.executable).with_name("samovar")
START_DEADLINE_S = 60
STOP_DEADLINE_S = 60

CLIENT_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def clean_environment(**more: str) -> dict[str, str]:
    """Ours without what would configure Samovar or an AWS client, and with what a test needs."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SAMOVAR_", "AWS_"))}
    path = os.pathsep.join([str(SAMOVAR.parent), kept.get("PATH", os.defpath)])
    return kept | CLIENT_ENVIRONMENT | {"PATH": path} | more


LIVE: set[Server] = set()
"""Started and not stopped yet: what a failing test leaves, `conftest` kills."""


class Server:
    """One started server. `ready_line` and `endpoint` are valid after `start`."""

    def __init__(self, data_dir: Path, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.endpoint = ""
        self.ready_line = ""
        self.stopped = False
        self.printed: list[str] = []
        """What it has written to stdout so far."""
        self.stderr_path = data_dir.with_name(data_dir.name + ".stderr")
        self._command = [str(SAMOVAR), "up", "--port", "0", "--data-dir", str(data_dir), *flags]
        self._env = clean_environment(**(env or {}))
        self._lines: queue.Queue[str | None] = queue.Queue()

    def start(self) -> Server:
        """Start it and wait for its ready line; fails with its stderr where there comes none."""
        with self.stderr_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        LIVE.add(self)
        self._reader = threading.Thread(target=self._read_stdout, daemon=True)
        self._reader.start()
        try:
            self.ready_line = self.await_line("samovar ready ")
        except BaseException:
            self.kill()
            raise
        self.endpoint = next(word for word in self.ready_line.split() if word.startswith("http"))
        return self

    def await_line(self, text: str) -> str:
        """The next line of its stdout that has `text` in it; fails where none comes in time."""
        while True:
            try:
                line = self._lines.get(timeout=START_DEADLINE_S)
            except queue.Empty:
                raise AssertionError(f"no {text!r} in time:\n{self.stderr()[-4000:]}") from None
            if line is None:
                raise AssertionError(f"ended before {text!r}:\n{self.stderr()[-4000:]}")
            if text in line:
                return line.rstrip("\n")

    @property
    def pid(self) -> int:
        """Of the server's own process."""
        return self.process.pid

    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return self.stderr_path.read_text(errors="replace")

    def health(self) -> dict[str, Any]:
        """What `GET /_samovar/health` says."""
        document: dict[str, Any] = self.ask("health")
        return document

    def ask(self, path: str, body: Mapping[str, Any] | None = None, method: str = "") -> Any:
        """What one of its own routes answers, below `/_samovar/`: a JSON document. `body`, if
        any, is posted. Raises `urllib.error.HTTPError`."""
        request = urllib.request.Request(
            f"{self.endpoint}/_samovar/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method or None,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def advance(self, seconds: float) -> None:
        """Let so much time have passed for it: before that it has done what was due, and after it,
        too. Needs `--test-controls`."""
        self.settle()
        self.ask("test/clock", {"advance_s": seconds})
        self.settle()

    def fault(self, function: str, fault: str, times: int = 1) -> None:
        """Have the next invocations of a function (NAME or NAME:QUALIFIER) meet `cold-start`,
        `throttle` or `crash`. Needs `--test-controls`."""
        self.ask(f"test/faults/{function}", {"fault": fault, "times": times})

    def events(self, function: str) -> dict[str, int]:
        """How many of its asynchronous events are in each state, those with none left out."""
        states = ("queued", "running", "retrying", "dead")
        for found in self.ask(f"queues?function={function}")["queues"]:
            return {state: found[state] for state in states if found[state]}
        return {}

    def settle(self) -> None:
        """Return once no event is due or under way, and no schedule is due. Needs
        `--test-controls`."""
        answer = self.ask("test/settle", {"timeout_s": 30})
        assert answer["settled"], f"it does not settle: {self.stderr()[-4000:]}"

    def await_log(self, function: str, text: str) -> None:
        """Return once the log of a function contains `text`."""
        url = f"{self.endpoint}/_samovar/logs/{function}?follow=1&tail_bytes=1000000"
        with urllib.request.urlopen(url, timeout=30) as lines:
            assert any(text in line.decode() for line in lines), f"the log ended without {text!r}"

    def newest_runtime(self) -> str:
        """`python3.13`, say: of the Pythons that this machine has."""
        runtimes = [name for name in self.health()["runtimes"] if name.startswith("python")]
        return max(runtimes, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])

    def stop(self) -> int:
        """SIGTERM, then wait till it has ended; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop on SIGTERM:\n{self.stderr()[-4000:]}") from None
        self._close()
        return status

    def kill(self) -> None:
        """SIGKILL: what a power cut leaves."""
        self.process.kill()
        self.process.wait(STOP_DEADLINE_S)
        self._close()

    def _close(self) -> None:
        self.stopped = True
        LIVE.discard(self)
        self._reader.join(STOP_DEADLINE_S)
        if self.process.stdout:
            self.process.stdout.close()

    def _read_stdout(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.printed.append(line)
            self._lines.put(line)
        self._lines.put(None)


@contextlib.contextmanager
def running(data_dir: Path, *flags: str, **env: str) -> Iterator[Server]:
    """A server for one block, stopped cleanly after it."""
    server = Server(data_dir, *flags, env=env).start()
    try:
        yield server
    except BaseException:
        sys.stderr.write(server.stderr()[-4000:])
        server.kill()
        raise
    if not server.stopped:
        status = server.stop()
        assert status == 0, f"ended with {status}:\n{server.stderr()[-4000:]}"
