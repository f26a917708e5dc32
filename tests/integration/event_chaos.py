"""Events are accepted while the server is killed with -9 at random moments; those that arrive are
counted.

`make chaos-events` runs the long form: 10,000 events, ten kills. `test_events_survive.py` is the
short one. A run is told by its seed, as far as a machine's own timing allows.

The function tells each event's id to a listener of ours, over TCP. (Its log would not do: the last
of that is lost with the server.) So it runs without isolation, which would keep it from our
loopback.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import itertools
import json
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.aws.functions import FunctionFactory, clients_of
from tests.server import Server

AT_ONCE = 8
"""Events that are under way at the same time."""

CLIENTS = 4
DEADLINE_S = 300.0
SETTINGS = {
    "SAMOVAR_ISOLATION": "none",
    "SAMOVAR_EXAMPLES": "false",
    "SAMOVAR_EVENTS_AT_ONCE": str(AT_ONCE),
}
HEADERS = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/lambda/aws4_request, "
    "SignedHeaders=host, Signature=0",
    "X-Amz-Invocation-Type": "Event",
}

SOURCE = """
    import socket
    listener = socket.create_connection(("127.0.0.1", {port}))
    def handler(event, context):
        listener.sendall(context.aws_request_id.encode() + b"\\n")
"""


@dataclass
class Tally:
    """What was promised, and what has come."""

    accepted: set[str] = field(default_factory=set)
    """Ids of the events that were answered with a 202."""
    arrived: collections.Counter[str] = field(default_factory=collections.Counter)
    kills: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def has_arrived(self, event_id: str) -> None:
        """One more delivery; several threads tell of them."""
        with self._counting:
            self.arrived[event_id] += 1

    @property
    def progress(self) -> int:
        return len(self.accepted) + len(self.arrived)

    @property
    def lost(self) -> set[str]:
        return self.accepted - self.arrived.keys()

    @property
    def duplicates(self) -> int:
        return sum(self.arrived.values()) - len(self.arrived)

    def __str__(self) -> str:
        unanswered = len(self.arrived.keys() - self.accepted)
        return (
            f"{len(self.accepted)} events accepted, {self.kills} kills: {len(self.lost)} lost, "
            f"{self.duplicates} delivered once more than needed, {unanswered} more delivered whose "
            "202 did not get through"
        )


class Chaos:
    """One run. `run` returns when everything has arrived, or raises where that takes too long."""

    def __init__(self, folder: Path, events: int, kills: int, seed: int) -> None:
        self.tally = Tally()
        self._folder = folder
        self._events = events
        self._moments = sorted(random.Random(seed).sample(range(events // 10, 2 * events), kills))
        self._server = self._start()

    def run(self) -> Tally:
        tally = self.tally
        try:
            with self._listening() as port:
                self._deploy(port)
                with self._sending():
                    for moment in self._moments:
                        self._await(lambda moment=moment: tally.progress >= moment)
                        self._server.kill()
                        tally.kills += 1
                        self._server = self._start()
                    self._await(lambda: len(tally.accepted) >= self._events)
                self._await(lambda: not tally.lost)
                assert self._server.stop() == 0
        finally:
            if not self._server.stopped:
                self._server.kill()
        return tally

    def _start(self) -> Server:
        return Server(self._folder / "data", env=SETTINGS).start()

    def _deploy(self, port: int) -> None:
        with clients_of(self._server.endpoint) as make:
            create = FunctionFactory(make(), "chaos", self._server.newest_runtime())
            self._path = f"/2015-03-31/functions/{create(SOURCE.format(port=port))}/invocations"

    def _await(self, condition: Callable[[], bool]) -> None:
        """Fail where nothing happens any more."""
        deadline, before = time.monotonic() + DEADLINE_S, -1
        while not condition():
            if self.tally.progress != before:
                deadline, before = time.monotonic() + DEADLINE_S, self.tally.progress
            assert time.monotonic() < deadline, f"{self.tally}\n{self._server.stderr()[-4000:]}"
            time.sleep(0.001)

    # ------------------------------------------------------------ those who send

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        enough = threading.Event()
        turns = itertools.count()
        threads = [
            threading.Thread(target=self._send, args=(enough, turns)) for _ in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            enough.set()
            for thread in threads:
                thread.join()

    def _send(self, enough: threading.Event, numbers: Iterator[int]) -> None:
        while not enough.is_set() and len(self.tally.accepted) < self._events:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._send_until_it_dies(enough, numbers)

    def _send_until_it_dies(self, enough: threading.Event, numbers: Iterator[int]) -> None:
        address = urlsplit(self._server.endpoint)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        with contextlib.closing(connection):
            while not enough.is_set() and len(self.tally.accepted) < self._events:
                body = json.dumps({"number": next(numbers)})
                connection.request("POST", self._path, body, HEADERS)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 202
                self.tally.accepted.add(answer.headers["x-amzn-RequestId"])

    # ------------------------------------------------------------ who listens

    @contextlib.contextmanager
    def _listening(self) -> Iterator[int]:
        readers: list[threading.Thread] = []
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            acceptor = threading.Thread(target=self._accept, args=(listener, readers))
            acceptor.start()
            try:
                yield listener.getsockname()[1]
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                acceptor.join()
                for reader in readers:
                    reader.join()

    def _accept(self, listener: socket.socket, readers: list[threading.Thread]) -> None:
        with contextlib.suppress(OSError):
            while True:
                reader = threading.Thread(target=self._read, args=(listener.accept()[0],))
                reader.start()
                readers.append(reader)

    def _read(self, instance: socket.socket) -> None:
        with instance, instance.makefile() as lines, contextlib.suppress(OSError):
            for line in lines:
                self.tally.has_arrived(line.strip())


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="samovar-chaos-") as folder:
        tally = Chaos(Path(folder), given.events, given.kills, given.seed).run()
    print(f"seed {given.seed}: {tally}")
    sys.exit(bool(tally.lost))


if __name__ == "__main__":
    main()
