"""A zygote: one interpreter, ready, of which every instance of a runtime is a fork.

How this works. The supervisor starts one zygote a runtime, under that runtime's own interpreter,
with one socket. The zygote imports what functions commonly use, moves into the template root,
gives up the bounding set, and then forks a blank for each request it is sent. Blanks are its
siblings (CLONE_PARENT): the supervisor reaps them and learns how they ended. It stays small and
single-threaded, and never runs a function's code, so that nothing is in it to be inherited.

    → {"layers": [...], ...}                                 first message: the settings
    ← {"up": true} | {"failed": reason}
    → {"seq", "uid", "mark", "cgroups": n, "network", "hold"} + fds  fork a blank, or a holder
    ← {"seq", "pid"} | {"seq", "failed": reason}

Every fork shares the zygote's address space layout and hash seed; randomness is fresh (`random`
and OpenSSL reseed after a fork, everything else asks the kernel).

Runs under any CPython from 3.9: standard library only.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from samovar.sandbox.process import blank, holder, rootfs
from samovar.sandbox.process import syscalls as sys_

if TYPE_CHECKING:
    from typing import Any, NoReturn

BOOTSTRAP = """
import sys
sys.dont_write_bytecode = True
import {preload}
sys.path.append({source!r})
from samovar.sandbox.process import zygote
sys.path.remove({source!r})
zygote.main(3)
"""
"""What the interpreter is told to run: with `-I -S`, so nothing but its own library is in sight.
The library comes first: beside this package may lie others that would shadow it."""

PRELOAD = (
    "base64, collections, contextlib, datetime, decimal, email.parser, functools, hashlib, hmac, "
    "http.client, importlib.util, inspect, io, json, logging, random, re, resource, select, "
    "socket, ssl, struct, subprocess, tempfile, threading, traceback, urllib.parse, "
    "urllib.request, uuid, zoneinfo"
)

MAX_FDS = 32
_OOM_SCORE = "500"
"""Of -1000 to 1000 (proc(5)); nobody who lacks a capability can lower it again."""


def main(control_fd: int) -> NoReturn:
    """Serve fork requests until the supervisor is gone."""
    sys_.die_with_parent(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    settings = json.loads(control.recv(blank.MAX_MESSAGE_BYTES) or b"null")
    if settings is None:
        os._exit(0)
    try:
        isolation = blank.Isolation(settings)
        loop = _loop(settings)
        _settle(isolation, settings, getattr(loop, "SHOWN_FILES", {}))
    except Exception as error:
        _tell(control, {"failed": f"{type(error).__name__}: {error}"})
        os._exit(1)
    _tell(control, {"up": True})
    while True:
        try:
            message, fds, _, _ = socket.recv_fds(control, blank.MAX_MESSAGE_BYTES, MAX_FDS)
        except ConnectionResetError:  # it went without reading what we had told
            message = b""
        if not message:
            os._exit(0)
        _serve(control, isolation, json.loads(message), fds, loop)
        for fd in fds:
            os.close(fd)


def _loop(settings: dict[str, Any]) -> blank.RuntimeLoop:
    """Import the runtime loop that instances run, and warm it up where it can be."""
    sys.path.append(settings["loop_path"])
    module: Any = importlib.import_module(settings["loop_module"])
    sys.path.remove(settings["loop_path"])
    if hasattr(module, "configure"):
        module.configure(settings["programs"])
    loop: blank.RuntimeLoop = module
    getattr(module, "warm_up", lambda: None)()
    return loop


def _settle(isolation: blank.Isolation, settings: dict[str, Any], files: dict[str, bytes]) -> None:
    """Take the shape that every blank inherits."""
    # Where the machine as a whole lacks memory, instances go before the server.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(_OOM_SCORE)
    if not isolation.own_cpu_time:
        os.nice(blank.NICENESS)
    if isolation.mounts:
        sys_.unshare(sys_.CLONE_NEWNS)
        first_uid, past_uid = settings["uids"]
        rootfs.enter_template_root(
            settings["prefix"],
            range(first_uid, past_uid),
            settings["nameservers"],
            isolation.user_namespace,
            files,
            settings["shown"],
        )
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1):
            os.dup2(null, fd)
        os.close(null)
    if isolation.drop_capabilities:
        sys_.drop_bounding_set()
    _add_builtins()
    sys.dont_write_bytecode = False
    sys.path_importer_cache.clear()
    gc.disable()
    gc.collect()
    gc.freeze()


def _add_builtins() -> None:
    """`exit`, `quit`, `help`, …: what `site` does besides adding to the search path."""
    import site

    site.setquit()
    site.setcopyright()
    site.sethelper()


def _serve(
    control: socket.socket,
    isolation: blank.Isolation,
    request: dict[str, Any],
    fds: list[int],
    loop: blank.RuntimeLoop,
) -> None:
    """Fork a blank, and tell of it."""
    in_between = False
    try:
        if request["hold"]:
            pid = sys_.fork_into(0)
            if pid == 0:
                holder.hold(isolation, request, fds, loop)
            _tell(control, {"seq": request["seq"], "pid": pid})
            return
        if isolation.processes and isolation.user_namespace:
            # There is no way back into a pid namespace outside of our user namespace, so a process
            # in between enters the instance's.
            in_between = sys_.fork_into(0) == 0
            if not in_between:
                return
        _tell(control, {"seq": request["seq"], "pid": _fork(isolation, request, fds, loop)})
    except OSError as error:
        _tell(control, {"seq": request["seq"], "failed": str(error)})
    finally:
        if in_between:
            os._exit(0)


def _fork(
    isolation: blank.Isolation,
    request: dict[str, Any],
    fds: list[int],
    loop: blank.RuntimeLoop,
) -> int:
    if isolation.processes:
        sys_.setns(fds[-1], sys_.CLONE_NEWPID)
    try:
        pid = sys_.fork_into(isolation.clone_flags())
        if pid == 0:
            blank.live(isolation, request, fds, loop)
    finally:
        if isolation.processes and not isolation.user_namespace:
            sys_.setns(isolation.home_fd, sys_.CLONE_NEWPID)
    return pid


def _tell(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        control.send(json.dumps(message).encode())
    except OSError:
        os._exit(0)  # the supervisor is gone
