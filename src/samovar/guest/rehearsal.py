"""What a blank does while it waits for its function: a function's first steps, on a sample.

A forked child shares its pages with the zygote and pays for a copy of each one when it first
writes to it, which is most of what a small function's init costs. A blank that has nothing else
to do pays beforehand (2–3 ms of CPU, a third of the init off the cold start). Nothing that
a function could see is left behind.
"""

from __future__ import annotations

import importlib
import os
import select
import sys
import time
from importlib.abc import SourceLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import TYPE_CHECKING

from samovar.guest import faults
from samovar.guest.context import ContextFactory
from samovar.guest.payload import decode_event, encode_result

if TYPE_CHECKING:
    from collections.abc import Callable

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


def rehearse_while_idle(control_fd: int) -> None:
    """Return when there is something to read on `control_fd`, or when all steps are done."""
    poll = select.poll()
    poll.register(control_fd, select.POLLIN)
    if poll.poll(IDLE_MS):
        return
    for step in (_use_environment, _import_standard_module, _run_sample):
        try:
            step()
        except Exception:  # noqa: S112 - it was only a rehearsal
            continue
        if poll.poll(0):
            return


def _use_environment() -> None:
    names = [f"{_NAME}_{number}" for number in range(24)]
    os.environ.update(dict.fromkeys(names, "a value of middling length"))
    os.environ["TZ"] = ":UTC"
    time.tzset()
    for name in [*names, "TZ"]:
        del os.environ[name]
    time.tzset()


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


def _run_sample() -> None:
    loader = _SampleLoader()
    spec = spec_from_loader(_NAME, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    handler: Callable[..., object] = module.handler
    context = ContextFactory({}, lambda _: None).make({"id": "", "arn": "", "deadline_ms": 0})
    encode_result(handler(decode_event(_EVENT), context))
    try:
        handler({"fail": True}, context)
    except ValueError as error:
        faults.log_text(faults.document(error, ""))
