"""How a supervisor comes up and goes down: the program that the driver starts.

How this works. It waits until no other supervisor has the data directory (one that has just lost
its server may still be clearing up), surveys the machine, enters a user namespace where that is
the way, tells the driver what it found, and serves. On its way out it removes what it opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

from samovar.model.isolation import Layer
from samovar.promptness import be_prompt
from samovar.sandbox.process import layers, ptrace, resources
from samovar.sandbox.process import syscalls as sys_
from samovar.sandbox.process.event_loop import EventLoop
from samovar.sandbox.process.layers import Ground
from samovar.sandbox.process.link import MAX_MESSAGE_BYTES, Link, Message
from samovar.sandbox.process.supervisor import Supervisor

_LOCK_WAIT_S = 15.0
_LOCK_POLL_S = 0.02


def main() -> None:
    """Serve the driver at the other end of the socket whose number is the only argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A service manager tells all of us at once; we end when the server does, which may drain.
        signal.signal(number, signal.SIG_IGN)
    be_prompt()
    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)
    opening = end.recv(MAX_MESSAGE_BYTES)
    if not opening:
        return
    settings = json.loads(opening)
    driver = Link(end)
    try:
        _lock(Path(settings["lock"]))
        ground = _survey(settings)
    except OSError as error:
        driver.send({"ev": "open", "failure": str(error)})
        return
    try:
        _serve(driver, settings, ground)
    finally:
        if ground.networks:
            ground.networks.close()
        if ground.cgroups:
            ground.cgroups.close()


def _lock(path: Path) -> None:
    """Have the data directory to ourselves, as long as this process lives."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise OSError(f"{path.parent} is in use by another server") from None
        time.sleep(_LOCK_POLL_S)  # for the lock's holder, who does not tell us


def _survey(settings: Message) -> Ground:
    if settings["mode"] == "none":
        reason = f"{layers.SWITCHED_OFF} (--isolation none)"
        return Ground(layers=frozenset(), missing=dict.fromkeys(Layer, reason), own_proc=False)
    name = settings["name"]
    return layers.survey(
        name=name,
        runtimes={
            name: [interpreter, *settings["reads"].get(name, ())]
            for name, interpreter in settings["runtimes"].items()
        },
        uid=resources.uid_range(name).start,
        disabled=frozenset(Layer(layer) for layer in settings["disabled"]),
    )


def _serve(driver: Link, settings: Message, ground: Ground) -> None:
    if ground.user_namespace:
        layers.enter_user_namespace()
    if Layer.PROCESSES not in ground.layers:
        sys_.adopt_orphans()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    meters = _limit_all(settings, ground)
    supervisor = Supervisor(driver, EventLoop(), settings, ground)
    driver.send(
        {
            "ev": "open",
            "layers": sorted(ground.layers),
            "unusable": dict(ground.unusable),
            "snapshots": layers.trial(ptrace.try_out) or ground.no_templates,
            "knows_peers": ground.knows_its_peers,
            "missing": {str(layer): reason for layer, reason in ground.missing.items()},
            "meters": list(meters),
        },
        list(meters.values()),
    )
    for fd in meters.values():
        os.close(fd)
    supervisor.serve()


def _limit_all(settings: Message, ground: Ground) -> dict[str, int]:
    """Limit what all instances together may use; return what tells how much that is."""
    if ground.cgroups is None:
        return {}
    if settings["memory_mib"] and Layer.MEMORY in ground.layers:
        with contextlib.suppress(OSError):  # the server goes by what the machine has left then
            ground.cgroups.limit_memory(settings["memory_mib"] << 20)
    return ground.cgroups.meters()


if __name__ == "__main__":
    main()
