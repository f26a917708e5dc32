"""A real RabbitMQ, from Debian's package, in a process and a folder of its own.

How this works. RabbitMQ is an Erlang node, and a node needs a port mapper. Left alone it would
start one as a daemon for the whole machine; here each broker has a mapper of its own, on a port of
its own, as a child that ends with it. All listeners are on the loopback; no service, user or folder
of the package's is used, so any number of brokers can run side by side.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiormq
from pamqp.commands import Basic

from tests.loopback import await_port, free_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_DEADLINE_S = 180
STOP_DEADLINE_S = 30

USER = "guest"
PASSWORD = "guest"

Done = TypeVar("Done")


def missing() -> str | None:
    """Why no RabbitMQ can be started here; None where one can."""
    if not SERVER.exists() or shutil.which("epmd") is None:
        return "there is no RabbitMQ here: apt-get install rabbitmq-server"
    return None


class RabbitMq:
    """One broker. Its messages survive `kill` and the next `start`: the folder stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._mapper_port = free_port()
        self._dist_port = free_port()
        self._mapper: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plugins").write_text("[].")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\nlog.console = true\nlog.file = false\n"
        )
        (folder / "env.conf").write_text("")
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"tests{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-start_epmd false +sbwt none +S 1:1 -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            # The script then becomes the node, in place of staying beside it.
            "RABBITMQ_ALLOW_INPUT": "1",
        }

    @property
    def url(self) -> str:
        """Where it listens, without credentials."""
        return f"amqp://127.0.0.1:{self.port}/"

    def start(self) -> RabbitMq:
        """Start it and wait till it takes connections; fails with its log where it does not."""
        if self._mapper is None:
            command = ["epmd", "-port", str(self._mapper_port), "-address", "127.0.0.1"]
            self._mapper = self._popen(command)
            await_port(self._mapper_port, self._mapper, STOP_DEADLINE_S)
        self._process = self._popen([str(SERVER), "-noinput"])
        try:
            await_port(self.port, self._process, START_DEADLINE_S)
        except BaseException as error:
            error.add_note((self.folder / "out").read_text(errors="replace")[-4000:])
            self.close()
            raise
        return self

    # ------------------------------------------------------------ what tests do with it

    def declare(self, queue: str, **arguments: Any) -> None:
        """A durable queue."""

        async def act(channel: aiormq.abc.AbstractChannel) -> None:
            await channel.queue_declare(queue, durable=True, arguments=arguments)

        self._do(act)

    def publish(self, queue: str, *bodies: bytes, **properties: Any) -> None:
        """Persistent messages; on return the broker has taken them."""

        async def act(channel: aiormq.abc.AbstractChannel) -> None:
            kept = Basic.Properties(**{"delivery_mode": 2} | properties)
            for body in bodies:
                await channel.basic_publish(body, routing_key=queue, properties=kept)

        self._do(act)

    def waiting(self, queue: str) -> int:
        """Messages that nobody has got."""

        async def act(channel: aiormq.abc.AbstractChannel) -> int:
            return (await channel.queue_declare(queue, passive=True)).message_count or 0

        return self._do(act)

    def _do(self, act: Callable[[aiormq.abc.AbstractChannel], Awaitable[Done]]) -> Done:
        async def run() -> Done:
            connection = await aiormq.connect(f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}/")
            try:
                return await act(await connection.channel())
            finally:
                await connection.close()

        return asyncio.run(run())

    # ------------------------------------------------------------ its end

    def kill(self) -> None:
        """SIGKILL for the node and what it has started: what a power cut leaves."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_DEADLINE_S)
            self._process = None

    def close(self) -> None:
        """End the broker and its port mapper, and remove the folder."""
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait(STOP_DEADLINE_S)
            self._mapper = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _popen(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "out").open("ab") as out:
            return subprocess.Popen(
                command,
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )


@contextmanager
def running_rabbitmq(folder: Path) -> Iterator[RabbitMq]:
    """A broker for one block."""
    broker = RabbitMq(folder)
    try:
        yield broker.start()
    finally:
        broker.close()
