"""What a worker says to an instance: of itself at first, then of each invocation."""

from __future__ import annotations

import datetime as dt
import time

import msgspec

from samovar.guest import wire
from samovar.model.function import FunctionVersion
from samovar.model.instance import Initialization
from samovar.model.invocation import Invocation
from samovar.model.web import WebSettings
from samovar.ports import SandboxInstance
from samovar.worker.environment import instance_environment


def init(
    version: FunctionVersion,
    handle: SandboxInstance,
    initialization: Initialization,
    terminal: str | None,
    web: WebSettings | None,
    *,
    snapshot: bool = False,
) -> bytes:
    """The INIT of an instance that starts now. `snapshot`: it becomes a template."""
    today = dt.datetime.now(dt.UTC).strftime("%Y/%m/%d")
    root, opt = handle.task_root, handle.layers_root
    meta: wire.Meta = {
        "handler": version.handler,
        "task_root": root,
        "runtime": version.runtime,
        "env": instance_environment(version, handle.id, root, opt, today, initialization),
    }
    if opt is not None:
        meta["opt"] = opt
    if terminal is not None:
        meta["terminal"] = terminal
    if web is not None:
        meta["web"] = web.as_meta()
    if version.concurrency > 1:
        meta["concurrency"] = version.concurrency
    if snapshot:
        meta["snapshot"] = True
    return wire.encode(wire.INIT, meta)


def restore() -> bytes:
    """The RESTORE of an instance that is forked now: nothing in its environment differs."""
    return wire.encode(wire.RESTORE, {"env": {}})


def invoke(invocation: Invocation, timeout_s: float) -> bytes:
    """The INVOKE of an invocation that begins now."""
    meta: wire.Meta = {
        "id": invocation.request_id,
        "arn": invocation.function_arn,
        "deadline_ms": int((time.time() + timeout_s) * 1e3),
    }
    if invocation.client_context is not None:
        meta["client_context"] = invocation.client_context
    if invocation.trace_id is not None:
        meta["trace_id"] = invocation.trace_id
    if invocation.tenant_id is not None:
        meta["tenant_id"] = invocation.tenant_id
    return wire.frame(wire.INVOKE, msgspec.json.encode(meta), invocation.payload)
