"""The runtime loop of a Python instance that takes many requests at once.

How this works. The first channel brings lanes (`wire.LANE`); on each of them one request at a time
runs as in `python_loop`. A handler that is a coroutine function runs as a task for each request, on
one asyncio loop; any other one in a thread for each lane. The main thread, where signals arrive,
reads the first channel, or runs the asyncio loop.

All of it is one process (AWS's has one for each request), so what is of a request must not be in a
global: the id in log records is a context variable, and `_X_AMZN_TRACE_ID` in os.environ is what
that of the request is that asks.

What ends a process elsewhere, as sys.exit, ends one request here: its client hears what it would
have heard, the worker sends nothing new, and the others run to their ends.
"""

from __future__ import annotations

import inspect
import os
import socket
import threading
import traceback
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING

from samovar.guest import environment
from samovar.guest.channel import Channel, ChannelClosedError
from samovar.guest.error_answer import error_answer
from samovar.guest.exit_status import INTERRUPTED, exit_status
from samovar.guest.exit_words import end_of_runtime
from samovar.guest.payload import decode_event, encode_own, encode_result
from samovar.guest.wire import (
    ERROR,
    INVOKE,
    LANE,
    RECV_BYTES,
    RESPONSE,
    FrameReader,
    ProtocolError,
    frame,
    receive_descriptors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, NoReturn

    from samovar.guest.context import ContextFactory, LambdaContext
    from samovar.guest.handler import Handler
    from samovar.guest.output import InvocationLog
    from samovar.guest.wire import Meta

    Answer = tuple[int, bytes, bytes]

_STACK_BYTES = 8 << 20
"""Of a thread, as the main one has: reserved, not used."""
_EXIT_UNCAUGHT = 1

# User code shares the modules: it may replace what it finds in them.
_getpid = os.getpid
_exit = os._exit

_trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)


def make_ready(handler: Handler, log: InvocationLog) -> None:
    """Do what is to be done once, as a part of init."""
    log.of_request = ContextVar("request_id", default="")
    environment.set_trace_id_source(_trace_id.get)
    if _is_async(handler):
        import asyncio  # noqa: F401 - 40 ms, if the function has not imported it itself


def debugged(handler: Handler, watched: Callable[[Handler], Handler]) -> Handler:
    """The handler to call in its stead where a person debugs it: one at a time."""
    if _is_async(handler):
        return handler
    lock, call = threading.Lock(), watched(handler)

    def call_alone(event: Any, context: Any) -> Any:
        with lock:
            return call(event, context)

    return call_alone


def serve(
    sock: socket.socket, handler: Handler, contexts: ContextFactory, log: InvocationLog
) -> int:
    """Answer on the lanes that come over the first channel, until that is closed."""
    requests = _Requests(handler, contexts, log)
    if _is_async(handler):
        import asyncio

        asyncio.run(_serve_tasks(sock, requests))
        return 0
    threading.stack_size(_STACK_BYTES)
    lanes = _LaneReader()
    while True:
        for lane in lanes.feed(*receive_descriptors(sock)):
            threading.Thread(target=_answer_in_thread, args=(lane, requests), daemon=True).start()


class _LaneReader:
    """Takes lanes from what comes on the first channel."""

    def __init__(self) -> None:
        self._reader = FrameReader()
        self._fds: deque[int] = deque()

    def feed(self, data: bytes, fds: list[int]) -> Iterator[socket.socket]:
        """The lanes that have come with this. Raises `ChannelClosedError` where nothing has."""
        if not data:
            raise ChannelClosedError
        self._fds.extend(fds)
        for kind, _, _ in self._reader.feed(data):
            if kind != LANE:
                raise ProtocolError(f"frame of type {kind} where a LANE was due")
            yield socket.socket(fileno=self._fds.popleft())


class _Requests:
    """What becomes of one request, in whatever thread or task it runs."""

    def __init__(self, handler: Handler, contexts: ContextFactory, log: InvocationLog) -> None:
        self.handler = handler
        self._contexts = contexts
        self._output = log.output
        self._own_pid = _getpid()
        assert log.of_request is not None
        self._request_id = log.of_request

    def begin(self, kind: int, meta: Meta) -> LambdaContext:
        """What is of this request, from now on, in this thread or task. `ProtocolError` where it is
        none."""
        if kind != INVOKE:
            raise ProtocolError(f"frame of type {kind} where an INVOKE was due")
        self._request_id.set(meta["id"])
        _trace_id.set(meta.get("trace_id"))
        return self._contexts.make(meta)

    def succeeded(self, result: object) -> Answer:
        """The answer of a handler that has returned. Raises what cannot be told in one."""
        answer = RESPONSE, b"", encode_result(result)
        self._end_if_forked()
        self._output.flush()
        return answer

    def failed(self, error: BaseException, request_id: str) -> Answer:
        """The answer of one that has raised."""
        self._end_if_forked()
        if isinstance(error, Exception):
            answer = error_answer(error, request_id, self._output.write)
        else:
            answer = self._ended(error)
        self._output.flush()
        return answer

    def _ended(self, error: BaseException) -> Answer:
        if isinstance(error, SystemExit):
            status = exit_status(error)
        else:
            traceback.print_exception(type(error), error, error.__traceback__)
            status = INTERRUPTED if isinstance(error, KeyboardInterrupt) else _EXIT_UNCAUGHT
        meta = {"type": "Runtime.ExitError", "fault": end_of_runtime(status << 8)}
        return ERROR, encode_own(meta), b""

    def _end_if_forked(self) -> None:
        """The handler forked, and this is the child: the request is its parent's to answer."""
        if _getpid() != self._own_pid:
            self.end()

    def end(self) -> NoReturn:
        """End the process, without asking what runs in it."""
        self._output.flush()
        _exit(0)


# ------------------------------------------------------------------ threads


def _answer_in_thread(lane: socket.socket, requests: _Requests) -> None:
    try:
        with lane:
            channel = Channel(lane)
            while True:
                channel.write(*_answer(requests, *channel.read()))
    except (ChannelClosedError, OSError):
        return  # the instance ends
    except BaseException:
        traceback.print_exc()
        _exit(_EXIT_UNCAUGHT)


def _answer(requests: _Requests, kind: int, meta: Meta, body: bytes | bytearray) -> Answer:
    try:
        context = requests.begin(kind, meta)
        return requests.succeeded(requests.handler(decode_event(body), context))
    except ProtocolError:
        raise
    except BaseException as error:
        return requests.failed(error, meta["id"])


# ------------------------------------------------------------------ tasks


async def _serve_tasks(sock: socket.socket, requests: _Requests) -> None:
    """Read the first channel. Each lane has a task, and each request one of its own: what it sets
    in its context is not there for the next one."""
    import asyncio

    loop = asyncio.get_running_loop()
    sock.setblocking(False)
    readable = asyncio.Event()
    loop.add_reader(sock, readable.set)
    lanes = _LaneReader()
    tasks = set()
    while True:
        await readable.wait()
        readable.clear()
        try:
            for lane in lanes.feed(*receive_descriptors(sock)):
                task = loop.create_task(_answer_in_tasks(lane, requests))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except BlockingIOError:
            continue
        except ChannelClosedError:
            requests.end()


async def _answer_in_tasks(lane: socket.socket, requests: _Requests) -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    lane.setblocking(False)
    reader = FrameReader()
    try:
        with lane:
            while data := await loop.sock_recv(lane, RECV_BYTES):
                for received in reader.feed(data):
                    answer = await loop.create_task(_answer_async(requests, *received))
                    await loop.sock_sendall(lane, frame(*answer))
    except OSError:
        return  # the instance ends
    except BaseException:
        traceback.print_exc()
        _exit(_EXIT_UNCAUGHT)


async def _answer_async(requests: _Requests, kind: int, meta: Meta, body: bytes) -> Answer:
    try:
        context = requests.begin(kind, meta)
        return requests.succeeded(await requests.handler(decode_event(body), context))
    except ProtocolError:
        raise
    except BaseException as error:
        return requests.failed(error, meta["id"])


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - an object that has one
    )
