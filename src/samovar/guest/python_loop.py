"""The runtime loop of a Python instance: INIT once, then one INVOKE after the other (or many at
once: `python_lanes`).

How this works. The zygote imports this module, and with it everything that the loop needs, once;
each instance is a fork of it that calls `serve`, so a cold start pays for little but the
function's own import. The user's code runs in this process and may do anything to it: the loop
keeps its state in its own frames, flushes guarded, answers with bounded documents, and ends the
process when it cannot go on. The worker, outside, draws the conclusions.

What a function sees follows AWS's Python runtime:
https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html
"""

from __future__ import annotations

import os
import traceback
from time import perf_counter
from typing import TYPE_CHECKING

from samovar.guest import environment, faults, python_lanes, snapshot_hooks
from samovar.guest.channel import Channel, ChannelClosedError
from samovar.guest.context import ContextFactory
from samovar.guest.error_answer import error_answer
from samovar.guest.exit_status import INTERRUPTED, exit_status
from samovar.guest.handler import load_handler
from samovar.guest.output import InvocationLog, Output
from samovar.guest.payload import decode_event, encode_own, encode_result
from samovar.guest.rehearsal import rehearse, rehearse_while_idle
from samovar.guest.snapshot import Snapshot
from samovar.guest.wire import (
    INIT,
    INIT_ERROR,
    INVOKE,
    READY,
    RESPONSE,
    RESTORE,
    ProtocolError,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import NoReturn

    from samovar.guest.handler import Handler
    from samovar.guest.wire import Meta

_EXIT_AFTER_INIT_ERROR = 1
TASK_ROOT = "/var/task"
"""Where an instance that has a root of its own, and so a /tmp, sees its code."""
_EXIT_UNCAUGHT = 1

# User code shares the modules: it may replace what it finds in them.
_getpid = os.getpid
_exit = os._exit


warm_up = rehearse
"""Run once in a zygote, before it forks."""


def prepare(control_fd: int) -> None:
    """Do what does not depend on the function, in a blank that waits for one; `serve` comes next.

    While there is nothing to read on `control_fd`, also pay beforehand for what a function's init
    would cost (see `rehearsal`); that ends within a millisecond when there is. Fds 1 and 2 become
    pipes that nobody reads: the blank points them at the function's log before `serve`."""
    nobody, pipe = os.pipe()
    os.dup2(pipe, 1)
    os.dup2(pipe, 2)
    os.close(pipe)
    os.close(nobody)
    _prepared.append(_make_ready())
    rehearse_while_idle(control_fd)


def serve(channel: socket.socket) -> NoReturn:
    """Run a function in this process until the worker closes the channel.

    Call it in a forked child whose fds 1 and 2 are its log. The process ends here, whatever
    happens, and nothing of its caller runs on."""
    status = _EXIT_UNCAUGHT
    log = None
    try:
        channel.set_inheritable(False)
        channel.setblocking(True)
        log = _prepared.pop() if _prepared else _make_ready()
        status = _serve(channel, log)
    except SystemExit as exit_:
        status = exit_status(exit_)
    except KeyboardInterrupt:
        traceback.print_exc()
        status = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            if log is not None:
                log.output.flush()
        finally:
            _exit(status)


_prepared: list[InvocationLog] = []
"""From `prepare` to `serve`; the function finds it empty."""


def _make_ready() -> InvocationLog:
    log = InvocationLog(Output())
    log.install()
    environment.forget_zygote()
    snapshot_hooks.offer()
    return log


def _serve(sock: socket.socket, log: InvocationLog) -> int:
    channel, output = Channel(sock), log.output
    try:
        kind, init, _ = channel.read()
        if kind != INIT:
            raise ProtocolError(f"frame of type {kind} before INIT")
        own_pid = _getpid()
        begun = perf_counter()
        try:
            folders = environment.apply(init["env"], init["task_root"], init.get("opt"))
            contexts = ContextFactory(init["env"], output.write)
            handler = _load(init, folders)
            takes_many = init.get("concurrency", 1) > 1
            if takes_many:
                python_lanes.make_ready(handler, log)
            own_tmp = init["task_root"] == TASK_ROOT
            snapshot = Snapshot(own_tmp=own_tmp) if init.get("snapshot") else None
        except Exception as error:
            if _getpid() != own_pid:
                raise
            document = faults.document(error, "")
            output.write(faults.log_text(document))
            channel.write(INIT_ERROR, b"", encode_own(document))
            return _EXIT_AFTER_INIT_ERROR
        if _getpid() != own_pid:
            return 0
        output.flush()
        channel.write(READY, encode_own({"init_ms": (perf_counter() - begun) * 1e3}), b"")
        if takes_many:
            return python_lanes.serve(sock, handler, contexts, log)
        if snapshot is not None and not _restore(channel, snapshot, output):
            return _EXIT_AFTER_INIT_ERROR
        return _answer_invocations(channel, handler, contexts, log)
    except ChannelClosedError:
        return 0


def _restore(channel: Channel, snapshot: Snapshot, output: Output) -> bool:
    """Go on in a fork, which begins in the midst of the first `read`: see `snapshot`."""
    kind, meta, _ = channel.read()
    begun = perf_counter()
    if kind != RESTORE:
        raise ProtocolError(f"frame of type {kind} where a RESTORE was due")
    own_pid = _getpid()
    try:
        snapshot.restore(meta.get("env", {}))
    except Exception as error:
        if _getpid() != own_pid:
            raise
        document = faults.document(error, "")
        output.write(faults.log_text(document))
        channel.write(INIT_ERROR, b"", encode_own(document))
        return False
    output.flush()
    channel.write(READY, encode_own({"init_ms": (perf_counter() - begun) * 1e3}), b"")
    return True


def _answer_invocations(
    channel: Channel, handler: Handler, contexts: ContextFactory, log: InvocationLog
) -> int:
    own_pid = _getpid()
    output = log.output
    read, write, flush = channel.read, channel.write, output.flush
    make_context, set_trace_id = contexts.make, environment.set_trace_id
    while True:
        kind, meta, body = read()
        if kind != INVOKE:
            raise ProtocolError(f"frame of type {kind} where an INVOKE was due")
        log.request_id = request_id = meta["id"]
        set_trace_id(meta.get("trace_id"))
        kind, answer_meta, event = RESPONSE, b"", None
        try:
            event = decode_event(body)
            body = b""
            body = encode_result(handler(event, make_context(meta)))
        except Exception as error:
            if _getpid() != own_pid:
                raise
            kind, answer_meta, body = error_answer(error, request_id, output.write)
        if _getpid() != own_pid:
            # The handler forked, and this is the child: the invocation is its parent's to answer.
            return 0
        flush()
        write(kind, answer_meta, body)
        # An idle instance must not hold the memory of its last event.
        del meta, body, event


def _load(init: Meta, folders: Sequence[str]) -> Handler:
    if "terminal" not in init:
        return load_handler(init["handler"], folders)
    from samovar.guest.debugger import TerminalDebugger

    debugger = TerminalDebugger(init["terminal"])
    handler = load_handler(init["handler"], folders)
    if init.get("concurrency", 1) > 1:
        return python_lanes.debugged(handler, debugger.watched)
    return debugger.watched(handler)
