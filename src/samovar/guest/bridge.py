"""The bridge: an instance whose function is a program of any language.

How this works. The program (a runtime with its function) is a child of this process, which is a
runtime loop as any other towards the worker, and serves the program what it needs to be one. One
thread, one `reactor`, on which sit

    worker_link      frames to and from the worker
    phases           init, invocations, rest; and for whom the instance waits in each
    http_listener    HTTP on the instance's loopback, and the routes that API modules add
    runtime_api      the Runtime API: its routes, and the runtime as a part of the phases
    web_server       in its place: a program that serves HTTP, to which events are requests
    extensions       the Extensions API, and the processes of /opt/extensions
    telemetry        what happens, for extensions that have subscribed to it (`telemetry_api`)
    shutdown         the end, where there are extensions

Further APIs add their routes to the same router, join the phases, and set timers on the reactor;
another way to run a program takes the place of `runtime_api` and keeps the rest. At last it ends as
the program has ended: with its exit status, or by its signal.

The worker is trusted, but may be slow to read; clients are the function. So nothing blocks.
Runs inside instances: standard library only, Python 3.9.
"""

from __future__ import annotations

import os
import signal
import socket
import traceback
from typing import TYPE_CHECKING

from samovar.guest import environment, peers, shown_files
from samovar.guest.channel import ChannelClosedError
from samovar.guest.child_process import ChildProcess
from samovar.guest.extended import Extended
from samovar.guest.http_listener import MAX_CONNECTIONS, HttpListener, Router
from samovar.guest.phases import Phases
from samovar.guest.program import EntrypointError, Program, as_web_server
from samovar.guest.reactor import Reactor
from samovar.guest.runtime_api import RuntimeApi
from samovar.guest.runtime_documents import document
from samovar.guest.web_server import WebServer
from samovar.guest.wire import INIT, ProtocolError
from samovar.guest.worker_link import WorkerLink

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

    from samovar.guest.wire import Meta

PORT = 9001
"""As on AWS, where the instance has its network to itself; else whichever is free."""

_EXIT_UNCAUGHT = 1
_EXIT_AFTER_INIT_ERROR = 1
_LOG_PATIENCE_S = 1.0
"""For so long what has been printed may wait for room in the log: what a program has left behind
may print for ever."""
_programs: dict[str, Any] = {}

SHOWN_FILES = shown_files.find()
"""Path in the template root → content: what programs are started with."""


def configure(programs: Mapping[str, Any]) -> None:
    """Learn, in the zygote, how each runtime is started."""
    _programs.update(programs)


def prepare(control_fd: int) -> None:
    """Do what does not depend on the function, in a blank that waits for one."""
    environment.forget_zygote()


def serve(channel: socket.socket) -> NoReturn:
    """Run a function's program until it ends, or the worker closes the channel."""
    status = _EXIT_UNCAUGHT
    try:
        channel.set_inheritable(False)
        status = _Bridge(channel).run()
        if os.WIFSIGNALED(status):
            _die_of(os.WTERMSIG(status))
        status = os.WEXITSTATUS(status)
    except ChannelClosedError:
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _die_of(number: int) -> None:
    """End as the program has: the worker, and who reads its log, are to see that."""
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


class _InitError(Exception):
    """The program could not be started."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Bridge:
    """Between one channel and one program."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._reactor = Reactor()
        self._link = WorkerLink(channel, self._reactor, self._on_first_frame)
        self._phases = Phases(self._link)
        self._listener: HttpListener | None = None
        self._extended: Extended | None = None
        self._web_server: WebServer | None = None
        self._status: int | None = None

    def run(self) -> int:
        """Serve until the program has ended; return its wait status. `ChannelClosedError` if the
        worker ends first."""
        self._reactor.run_until(lambda: self._status is not None)
        assert self._status is not None
        while self._listener and not self._listener.finish():
            self._reactor.run_until(lambda: self._phases.has_room)
        self._reactor.run_until(lambda: self._phases.flushed)
        self._finish_log()
        return self._status

    def _finish_log(self) -> None:
        extended, patience = self._extended, [True]
        if extended:
            self._reactor.later(_LOG_PATIENCE_S, patience.clear)
            self._reactor.run_until(lambda: extended.logged or not patience)

    def _on_first_frame(self, kind: int, meta: Meta, body: bytes | bytearray) -> None:
        if kind != INIT:
            raise ProtocolError(f"frame of type {kind} before INIT")
        self._link.on_frame = self._phases.take_frame
        try:
            self._begin(meta)
        except _InitError as error:
            self._fail_init(error)

    def _fail_init(self, error: _InitError) -> None:
        self._phases.fail_init(document(error.kind, str(error)))
        self._end(_EXIT_AFTER_INIT_ERROR << 8)

    def _end(self, status: int) -> None:
        if self._status is None:
            self._status = status

    def _begin(self, init: Meta) -> None:
        own_network = peers.has_own("net")
        if not own_network and not peers.can_tell():
            message = "its Runtime API would be open to the whole machine: there is no /proc here"
            raise _InitError("Runtime.Unavailable", message)
        concurrency = init.get("concurrency", 1)
        if concurrency > 1:
            self._phases.takes_many = True
            self._link.take_lanes(self._phases.add_lane)
        sock = socket.create_server(
            ("127.0.0.1", PORT if own_network else 0), backlog=MAX_CONNECTIONS + concurrency
        )
        port = sock.getsockname()[1]
        env = {**init["env"], "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}"}
        router = Router()
        self._listener = HttpListener(
            sock,
            self._reactor,
            router,
            lambda client: own_network or peers.is_ours(client),
            # A program may ask on one while it answers on another.
            max_connections=MAX_CONNECTIONS + 2 * (concurrency - 1),
        )
        extended = self._extended = Extended(
            self._reactor,
            self._phases,
            router,
            env,
            port,
            link=self._link,
            listener=self._listener,
            end=self._end,
        )
        if "web" in init:
            if not own_network:
                _move_server(init["web"], env)
            self._web_server = WebServer(
                self._reactor,
                self._phases,
                init["web"],
                lambda port: own_network or peers.serves(port),
            )
        else:
            RuntimeApi(self._phases, router, lambda: extended.has_internal)
        extended.launch(init.get("opt"), lambda: self._start_program(init, env, extended))

    def _start_program(self, init: Meta, env: Mapping[str, str], extended: Extended) -> None:
        entry = _programs[init["runtime"]]
        if self._web_server:
            entry, env = as_web_server(entry, init, env)
        program = Program(entry, init["task_root"], init.get("opt", "/opt"))
        connection = self._connection() if program.connected else None
        try:
            os.chdir(init["task_root"])
            connection_fd = connection.fileno() if connection else None
            pid = program.start(env, extended.program_output_fd, connection_fd)
        except EntrypointError as error:
            self._fail_init(_InitError("Runtime.InvalidEntrypoint", str(error)))
            return
        finally:
            if connection:
                connection.close()
        extended.program_started(ChildProcess(self._reactor, pid, extended.program_ended))
        if self._web_server:
            self._web_server.begin()

    def _connection(self) -> socket.socket:
        """To the Runtime API, for a program that is to begin with one."""
        assert self._listener
        ours, theirs = socket.socketpair()
        self._listener.adopt(ours)
        return theirs


def _move_server(web: dict[str, Any], env: dict[str, str]) -> None:
    """To a port of its own, for this loopback is the whole machine's. Servers that listen where
    PORT says follow."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    if web["readiness_port"] == web["port"]:
        web["readiness_port"] = port
    web["port"] = port
    env["PORT"] = env["AWS_LWA_PORT"] = str(port)
