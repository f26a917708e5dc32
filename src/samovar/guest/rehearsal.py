"""What a blank does while it waits for its function: a function's first steps, on a sample.

A forked child shares its pages with the zygote and pays for a copy of each one when it first
writes to it, which is much of what a small function's init costs; code that ran a moment ago is
in the processor's caches, too. A blank that has nothing else to do pays beforehand: 2–3 ms of CPU
make its start about 1 ms shorter (`python -m benchmarks.warm_loop`). Nothing that a function
could see is left behind, and a blank that gets its function goes on with that.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import socket
import sys
import time
from importlib.abc import SourceLoader
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_loader
from typing import TYPE_CHECKING

from samovar.guest import faults
from samovar.guest.channel import Channel
from samovar.guest.context import ContextFactory
from samovar.guest.payload import decode_event, encode_result
from samovar.guest.wire import INIT, INVOKE, RECV_BYTES, RESPONSE, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

IDLE_MS = 20
"""A blank that is made on demand, or while many are, gets its function before this."""

_SAMPLE = b'''
import json, os, logging

logger = logging.getLogger()

class Greeting:
    """A class with an annotation, a default and a comprehension."""
    name: str = "world"

    def words(self, times, end="!", *more, **named):
        return [self.name + end for _ in range(times)] + list(more)

def handler(event, context):
    """What small handlers do."""
    if "fail" in event:
        raise ValueError("asked to")
    body = json.dumps({"message": f"hello {event.get('key')}", "id": context.aws_request_id})
    return {"statusCode": 200, "body": body, "words": Greeting().words(3)}
'''
_EVENT = b'{"key": "value", "list": [1, 2.5, null, true], "object": {"text": "\\u00e9"}}'
_NAME = "samovar_rehearsal"


def rehearse() -> None:
    """All of it at once, in a zygote: what has been warmed there (specialised bytecode, caches) is
    shared by its forks. 400 kB less for each of them to copy, and half a millisecond less to do."""
    with contextlib.suppress(Exception):  # it was only a rehearsal
        for _ in _steps():
            pass


def rehearse_while_idle(control_fd: int) -> None:
    """Return when there is something to read on `control_fd`, or when all steps are done."""
    poll = select.poll()
    poll.register(control_fd, select.POLLIN)
    if poll.poll(IDLE_MS):
        return
    try:
        for _ in _steps():
            if poll.poll(0):
                break
    except Exception:  # noqa: S110 - it was only a rehearsal
        pass
    # Classes of the sample would still be among `object.__subclasses__()`.
    gc.collect()


def _steps() -> Iterator[None]:
    """Rehearse; it may end at each `yield`, which are half a millisecond apart."""
    _use_environment()
    yield
    _look_for_module()
    _import_standard_module()
    yield
    handler = _import_sample().handler
    yield
    _handle_events(handler)
    yield
    _exchange_frames()


def _use_environment() -> None:
    names = [f"{_NAME}_{number}" for number in range(24)]
    os.environ.update(dict.fromkeys(names, "a value of middling length"))
    os.environ["TZ"] = ":UTC"
    time.tzset()
    for name in [*names, "TZ"]:
        del os.environ[name]
    time.tzset()


def _look_for_module() -> None:
    folder = "/"
    if folder not in sys.path_importer_cache:
        PathFinder.find_spec(_NAME, [folder])
        del sys.path_importer_cache[folder]


def _import_standard_module() -> None:
    name = "colorsys"
    if name not in sys.modules:
        importlib.import_module(name)
        del sys.modules[name]


class _SampleLoader(SourceLoader):
    def get_filename(self, fullname: str) -> str:
        return f"<{_NAME}>"

    def get_data(self, path: str | bytes) -> bytes:
        return _SAMPLE


def _import_sample() -> ModuleType:
    loader = _SampleLoader()
    spec = spec_from_loader(_NAME, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def _handle_events(handler: Callable[..., object]) -> None:
    context = ContextFactory({}, lambda _: None).make({"id": "", "arn": "", "deadline_ms": 0})
    encode_result(handler(decode_event(_EVENT), context))
    try:
        handler({"fail": True}, context)
    except ValueError as error:
        faults.log_text(faults.document(error, ""))


def _exchange_frames() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(encode(INIT, {"env": dict.fromkeys("abcdefghijklmnopqrst", "value")}))
        ours.sendall(encode(INVOKE, {"id": "", "arn": "", "deadline_ms": 0}, _EVENT))
        channel = Channel(theirs)
        channel.read()
        channel.write(RESPONSE, b"", decode_event(channel.read()[2])["key"].encode())
        ours.recv(RECV_BYTES)
