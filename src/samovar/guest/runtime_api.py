"""The bridge: an instance whose function is a program of any language.

How this works. The program (a runtime with its function) is a child of this process and speaks the
Lambda Runtime API, version 2018-06-01, over HTTP on the instance's loopback; towards the worker,
this process is a runtime loop as any other. So it translates:

    GET  /runtime/invocation/next            first: READY; answered by the next INVOKE
    POST /runtime/invocation/ID/response     RESPONSE
    POST /runtime/invocation/ID/error        ERROR
    POST /runtime/init/error                 INIT_ERROR

and it ends as the program has ended: with its exit status, or by its signal. States, statuses and
error documents are those of AWS's own emulator of the API:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html,
https://github.com/aws/aws-lambda-runtime-interface-emulator.

One thread, one selector. The worker is trusted and always reads, so its channel may block; clients
are the function, so nothing else does. Runs inside instances: standard library only, Python 3.9.
"""

from __future__ import annotations

import functools
import json
import os
import select
import selectors
import signal
import socket
import time
import traceback
from typing import TYPE_CHECKING

from samovar.guest import environment, peers
from samovar.guest.channel import Channel, ChannelClosedError
from samovar.guest.http_connection import BadRequestError, Connection
from samovar.guest.payload import MAX_RESPONSE_BYTES
from samovar.guest.program import EntrypointError, Program
from samovar.guest.runtime_documents import (
    TOO_LARGE,
    document,
    error_document,
    error_type,
    next_headers,
)
from samovar.guest.runtime_state import InvalidTransitionError, RuntimeState
from samovar.guest.wire import ERROR, INIT, INIT_ERROR, INVOKE, READY, RESPONSE, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from samovar.guest.http_connection import Request
    from samovar.guest.wire import Meta

PORT = 9001
"""As on AWS, where the instance has its network to itself; else whichever is free."""
MAX_CONNECTIONS = 128
API = "/2018-06-01/runtime/"

_EXIT_UNCAUGHT = 1
_LAST_READS = 64
"""Of a quarter MiB, from each connection of a program that has ended."""
_programs: dict[str, Any] = {}

SHOWN_FILES = Program.shown_files()
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
        channel.setblocking(True)
        status = _serve(channel)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _serve(sock: socket.socket) -> int:
    channel = Channel(sock)
    try:
        kind, init, _ = channel.read()
        if kind != INIT:
            raise ProtocolError(f"frame of type {kind} before INIT")
        begun = time.perf_counter()
        own_network = peers.has_own("net")
        if not own_network and not peers.can_tell():
            message = "its Runtime API would be open to the whole machine: there is no /proc here"
            channel.write(INIT_ERROR, b"", document("Runtime.Unavailable", message))
            return 1
        listener = socket.create_server(("127.0.0.1", PORT if own_network else 0), backlog=128)
        program = Program(_programs[init["runtime"]], init["task_root"])
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        try:
            os.chdir(init["task_root"])
            pid = program.start({**init["env"], "AWS_LAMBDA_RUNTIME_API": address})
        except EntrypointError as error:
            channel.write(INIT_ERROR, b"", document("Runtime.InvalidEntrypoint", str(error)))
            return 1
        status = _Bridge(channel, sock, listener, pid, begun, own_network).run()
    except ChannelClosedError:
        return 0
    if os.WIFSIGNALED(status):
        _die_of(os.WTERMSIG(status))
    return os.WEXITSTATUS(status)


def _die_of(number: int) -> None:
    """End as the program has: the worker, and who reads its log, are to see that."""
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


class _Bridge:
    """Between one channel and one program. `run` returns the program's wait status."""

    def __init__(
        self,
        channel: Channel,
        channel_fd: socket.socket,
        listener: socket.socket,
        pid: int,
        begun: float,
        own_network: bool,
    ) -> None:
        self._channel = channel
        self._listener = listener
        self._pid = pid
        self._begun = begun
        self._own_network = own_network
        self._state = RuntimeState()
        self._connections: set[Connection] = set()
        self._waiting: list[Connection] = []
        """For their answer to /next, the oldest first."""
        self._invocation: tuple[Meta, bytes | bytearray] | None = None
        """Until it has been taken by the program."""
        self._taker: Connection | None = None
        """Whom it is being sent to."""
        self._selector = selectors.DefaultSelector()
        self._ended = False
        listener.setblocking(False)
        self._watch(channel_fd, self._on_frame)
        self._watch(listener, self._on_client)
        self._watch(os.pidfd_open(pid), self._on_end)

    def run(self) -> int:
        """Serve until the program has ended. `ChannelClosedError` if the worker ends first."""
        while not self._ended:
            for key, events in self._selector.select():
                key.data(events)
        # What it has said just before.
        if not self._listener_paused:
            self._on_client(0)
        for connection in list(self._connections):
            for _ in range(_LAST_READS):
                if not (connection in self._connections and _readable(connection)):
                    break
                self._on_connection(connection, selectors.EVENT_READ)
        return os.waitpid(self._pid, 0)[1]

    def _watch(self, file: Any, callback: Callable[[int], None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, callback)

    def _on_end(self, events: int) -> None:
        self._ended = True

    # ------------------------------------------------------------ the worker

    def _on_frame(self, events: int) -> None:
        kind, meta, body = self._channel.read()
        if kind != INVOKE:
            raise ProtocolError(f"frame of type {kind} where an INVOKE was due")
        self._invocation = (meta, body)
        self._deliver()

    def _deliver(self) -> None:
        """Answer the oldest /next, if there is an invocation for it."""
        while self._waiting and self._invocation and self._taker is None:
            connection = self._waiting.pop(0)
            meta, body = self._invocation
            self._state.begin(meta["id"])
            self._taker = connection
            if not connection.answer(200, body, headers=next_headers(meta)):
                self._close(connection)
            elif connection.unsent:
                self._await_room(connection)
            else:
                self._taken()
                self._go_on(connection)

    def _taken(self) -> None:
        # The event is the function's now; here it would only count against its memory.
        self._invocation = self._taker = None

    # ------------------------------------------------------------ clients

    _listener_paused = False

    def _on_client(self, events: int) -> None:
        while len(self._connections) < MAX_CONNECTIONS:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                continue  # it has gone already
            if not self._own_network and not peers.is_ours(sock):
                sock.close()
                continue
            connection = Connection(sock, MAX_RESPONSE_BYTES)
            self._connections.add(connection)
            self._watch(sock, functools.partial(self._on_connection, connection))
        if not self._listener_paused:
            self._listener_paused = True
            self._selector.unregister(self._listener)

    def _close(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._selector.unregister(connection.sock)
        connection.sock.close()
        if connection in self._waiting:
            self._waiting.remove(connection)
        if connection is self._taker:
            self._taker = None
            self._state.withdraw()  # it has not got it: the next one does
            self._deliver()
        if self._listener_paused:
            self._listener_paused = False
            self._watch(self._listener, self._on_client)

    def _await_room(self, connection: Connection) -> None:
        key = self._selector.get_key(connection.sock)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        if key.events != events:
            self._selector.modify(connection.sock, events, key.data)

    def _on_connection(self, connection: Connection, events: int) -> None:
        if connection not in self._connections:
            return
        if events & selectors.EVENT_WRITE and not connection.send():
            self._close(connection)
            return
        if connection is self._taker and not connection.unsent:
            self._taken()
        if events & selectors.EVENT_READ and not connection.receive():
            # It may have said its last word and then have gone.
            if connection.answered:
                self._go_on(connection)
            self._close(connection)
            return
        self._go_on(connection)

    def _go_on(self, connection: Connection) -> None:
        """Handle what requests there are."""
        try:
            while connection in self._connections:
                request = connection.next_request()
                if request is None:
                    self._await_room(connection)
                    return
                self._handle(connection, request)
        except BadRequestError as error:
            connection.refuse(str(error))
            self._close(connection)

    # ------------------------------------------------------------ the API

    def _handle(self, connection: Connection, request: Request) -> None:
        path = request.path.partition("?")[0]
        steps = path[len(API) :].split("/") if path.startswith(API) else []
        method = request.method
        if steps == ["invocation", "next"]:
            if method == "GET":
                return self._next(connection)
        elif steps == ["init", "error"]:
            if method == "POST":
                return self._init_error(connection, request)
        elif len(steps) == 3 and steps[0] == "invocation" and steps[2] in ("response", "error"):
            if method == "POST":
                return self._result(connection, request, steps[1], steps[2])
        else:
            return self._answer(connection, 404, b"404 page not found\n", "text/plain")
        return self._answer(connection, 405, b"", "text/plain")

    def _answer(
        self, connection: Connection, status: int, body: bytes, kind: str = "application/json"
    ) -> None:
        if not connection.answer(status, body, kind):
            self._close(connection)

    def _accept(self, connection: Connection) -> None:
        self._answer(connection, 202, b'{"status":"OK"}\n')

    def _refuse(self, connection: Connection, status: int, kind: str, message: str) -> None:
        self._answer(connection, status, document(kind, message) + b"\n")

    def _next(self, connection: Connection) -> None:
        try:
            first = self._state.ready(delivered=self._invocation is None)
        except InvalidTransitionError as error:
            return self._refuse(connection, 403, "InvalidStateTransition", str(error))
        self._waiting.append(connection)
        if first:
            init_ms = (time.perf_counter() - self._begun) * 1e3
            self._channel.write(READY, json.dumps({"init_ms": init_ms}).encode(), b"")
        return self._deliver()

    def _init_error(self, connection: Connection, request: Request) -> None:
        try:
            self._state.fail_init()
        except InvalidTransitionError as error:
            return self._refuse(connection, 403, "InvalidStateTransition", str(error))
        self._channel.write(INIT_ERROR, b"", error_document(request))
        return self._accept(connection)

    def _result(self, connection: Connection, request: Request, id_: str, what: str) -> None:
        if id_ != self._state.request_id:
            return self._refuse(connection, 400, "InvalidRequestID", "Invalid request ID")
        try:
            self._state.end(what)
        except InvalidTransitionError as error:
            return self._refuse(connection, 403, "InvalidStateTransition", str(error))
        mode = request.headers.get("lambda-runtime-function-response-mode", "streaming")
        if request.too_large:
            self._send_error("Function.ResponseSizeTooLarge", TOO_LARGE)
            message = f"Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
            return self._refuse(connection, 413, "RequestEntityTooLarge", message)
        if mode != "streaming":
            kind = "Runtime.InvalidResponseModeHeader"
            self._send_error(kind, document(kind, "Invalid function response mode"))
            message = "Invalid function response mode"
            return self._refuse(connection, 400, "InvalidFunctionResponseMode", message)
        if what == "error":
            self._send_error(error_type(request.headers), error_document(request))
        elif "lambda-runtime-function-error-type" in request.trailers:
            # A stream that has failed in its midst.
            kind = error_type(request.trailers)
            self._send_error(kind, document(kind, "The response stream ended with an error"))
        else:
            self._channel.write(RESPONSE, b"", request.body)
        return self._accept(connection)

    def _send_error(self, kind: str, document: bytes | bytearray) -> None:
        self._channel.write(ERROR, json.dumps({"type": kind}).encode(), document)


def _readable(connection: Connection) -> bool:
    return bool(select.select([connection.sock], [], [], 0)[0])
