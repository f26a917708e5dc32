"""Python functions as a program beside a bridge: a client of the Runtime API.

How this works. As a rule a Python function runs in a fork of a zygote (`python_loop`), without any
program to start. Where it has extensions, or a wrapper script, there is a bridge in its instance,
and its runtime is a process like any other's: this one. What a function sees is the same in both,
for both use the same modules.

Runs in a function's process: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import TYPE_CHECKING

from samovar.guest import environment, faults
from samovar.guest.context import ContextFactory
from samovar.guest.exit_status import INTERRUPTED, exit_status
from samovar.guest.handler import load_handler
from samovar.guest.output import InvocationLog, Output
from samovar.guest.payload import decode_event, encode_own, encode_result
from samovar.guest.runtime_client import RuntimeApiError, RuntimeClient, connect

if TYPE_CHECKING:
    from typing import NoReturn

    from samovar.guest.handler import Handler

_EXIT_FAILED = 1
_CONNECTION_FD = 3
"""Where a bridge leaves a connection (`guest.program`)."""
_OPTION = "samovar_opt"
"""Of the interpreter, -X: where the instance sees its layers."""

# User code shares the modules: it may replace what it finds in them.
_getpid = os.getpid
_exit = os._exit


def main() -> NoReturn:
    """Run the function until there are no more events; the process ends here."""
    status = _EXIT_FAILED
    log = InvocationLog(Output())
    try:
        log.install()
        status = _run(log)
    except SystemExit as exit_:
        status = exit_status(exit_)
    except KeyboardInterrupt:
        traceback.print_exc()
        status = INTERRUPTED
    except (RuntimeApiError, ConnectionError):
        status = _EXIT_FAILED  # the instance is ending
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            log.output.flush()
        finally:
            _exit(status)


def _run(log: InvocationLog) -> int:
    own_pid = _getpid()
    output = log.output
    client = RuntimeClient(connect(os.environ["AWS_LAMBDA_RUNTIME_API"], _CONNECTION_FD))
    try:
        folders = _set_search_path(os.environ["LAMBDA_TASK_ROOT"])
        contexts = ContextFactory(os.environ, output.write)
        handler = load_handler(os.environ["_HANDLER"], folders)
    except Exception as error:
        if _getpid() != own_pid:
            raise
        document = faults.document(error, "")
        output.write(faults.log_text(document))
        client.fail_init(document["errorType"], encode_own(document))
        return _EXIT_FAILED
    if _getpid() != own_pid:
        return 0
    output.flush()
    return _answer_invocations(client, handler, contexts, log)


def _set_search_path(task_root: str) -> list[str]:
    """Put the function's own modules first, and take out what the machine has installed."""
    opt = str(sys._xoptions.get(_OPTION, "/opt"))
    sys.argv = ["bootstrap.py"]
    folders = [task_root, *environment.layer_folders(opt)]
    ours = [entry for entry in sys.path if not _is_the_machines(entry) and entry not in folders]
    sys.path[:] = folders + ours
    if environment.SDK not in sys.path:
        sys.path.append(environment.SDK)
    return folders


def _is_the_machines(entry: str) -> bool:
    name = os.path.basename(entry)
    return entry.startswith(sys.prefix) and name in ("site-packages", "dist-packages")


def _answer_invocations(
    client: RuntimeClient, handler: Handler, contexts: ContextFactory, log: InvocationLog
) -> int:
    own_pid = _getpid()
    output = log.output
    set_trace_id = environment.set_trace_id
    while True:
        meta, body = client.next()
        log.request_id = request_id = meta["id"]
        set_trace_id(meta.get("trace_id"))
        event = failure = None
        try:
            event = decode_event(body)
            body = b""
            body = encode_result(handler(event, contexts.make(meta)))
        except Exception as error:
            if _getpid() != own_pid:
                raise
            failure = faults.document(error, request_id)
            output.write(faults.log_text(failure))
        if _getpid() != own_pid:
            # The handler forked, and this is the child: the invocation is its parent's to answer.
            return 0
        output.flush()
        if failure is None:
            client.respond(request_id, body)
        else:
            client.fail(request_id, failure["errorType"], encode_own(failure))
        # An idle instance must not hold the memory of its last event.
        del meta, body, event, failure
