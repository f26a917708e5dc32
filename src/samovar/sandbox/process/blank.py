"""A blank: a process from its fork off a zygote to the function's first line.

How this works. A blank isolates itself layer by layer, in an order in which each step still has
the privileges that it needs and none is left at the end (FACTS: "An order that worked"):

    cgroup → network → /tmp, /proc → session, rlimits → no_new_privs → uid, capabilities
    → parent-death signal → Landlock → seccomp → descriptors → "ready"

Then it waits on its control socket until the supervisor hands it an instance's channel and output
pipe. It trusts the supervisor; the supervisor reads at most one short message from it, before any
of the function's code has run. When the control socket ends, so does the blank.

Runs in zygotes: Python 3.9, standard library only. Layers are named by the values of
`samovar.model.isolation.Layer`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` wraps, with fewer pages touched
import contextlib
import gc
import json
import os
import random
import resource
import signal
import socket
from typing import TYPE_CHECKING, Protocol

from samovar.sandbox.process import landlock, rootfs, seccomp, strays
from samovar.sandbox.process import syscalls as sys_

if TYPE_CHECKING:
    from typing import Any, NoReturn

CONTROL_FD = 3
"""Where a blank's control socket is, and then its channel: the only descriptor above stderr."""

READY = b"ready"

OPEN_FILES = 1024
PROCESSES = 1024
"""AWS's quotas on file descriptors and on processes and threads."""

WRITABLE = ["/tmp", "/dev"]  # noqa: S108 - what instances may change

NICENESS = 5
"""Where no cgroup keeps instances from taking all processors: each weighs a third of the server
(sched(7)), which has to go on answering."""

MAX_MESSAGE_BYTES = 64 * 1024


class Isolation:
    """What a zygote knows of the layers of its blanks. `settings` comes from the supervisor."""

    def __init__(self, settings: dict[str, Any]) -> None:
        layers = settings["layers"]
        self.mounts = "mounts" in layers
        self.processes = "processes" in layers
        self.network = "network" in layers
        self.own_uid = "user" in layers
        self.own_cpu_time = "cpu" in layers
        self.user_namespace = settings["user_namespace"]
        self.drop_capabilities = "capabilities" in layers
        self.landlock = "landlock" in layers
        self.filter = self._filter() if "seccomp" in layers else None
        self.processes_limit = settings["processes_limit"]
        self.private_mounts = rootfs.private_mounts(settings["own_proc"])
        self.supervisor_fd = os.pidfd_open(os.getppid())
        self.home_fd = os.pidfd_open(os.getpid())

    def clone_flags(self) -> int:
        """The namespaces to fork a blank into; its pid namespace is there before (`reaper`)."""
        flags = sys_.CLONE_NEWNS if self.mounts else 0
        if self.processes:
            flags |= sys_.CLONE_NEWIPC | sys_.CLONE_NEWUTS
        return flags

    def _filter(self) -> seccomp.Code:
        scoped = self.landlock and landlock.scopes_abstract_sockets()
        # No unix socket of the host is in reach, neither by its path nor by its name.
        out_of_reach = self.mounts and (self.network or scoped)
        return seccomp.compiled(unix_sockets=out_of_reach, socket_tables=not self.network)


class RuntimeLoop(Protocol):
    """What instances of a runtime run: the module `samovar.guest.python_loop`, or another.

    Zygotes call its `configure(programs)`, and put its `SHOWN_FILES` into their root, if it has
    them."""

    def prepare(self, control_fd: int) -> None:
        """Do beforehand what does not depend on the function, until `control_fd` can be read."""

    def serve(self, channel: socket.socket) -> NoReturn:
        """Run the function that the channel's first frame names."""


def live(
    isolation: Isolation, request: dict[str, Any], fds: list[int], loop: RuntimeLoop
) -> NoReturn:
    """Become a blank, then the instance that the supervisor assigns. Never returns.

    `fds` are the control socket, the cgroups' attach files, the network namespace if any, and
    what the zygote needed."""
    control = fds[0]
    try:
        try:
            _isolate(isolation, request, fds)
            os.dup2(control, CONTROL_FD)
            control = CONTROL_FD
            sys_.close_from(CONTROL_FD + 1)
            os.write(control, READY)
        except Exception as error:
            os.write(control, f"{type(error).__name__}: {error}".encode()[:1000])
            os._exit(1)
        gc.enable()
        random.seed()
        loop.prepare(control)
        loop.serve(_await_assignment(isolation))
    finally:
        os._exit(1)


def _isolate(isolation: Isolation, request: dict[str, Any], fds: list[int]) -> None:
    attach_fds = fds[1 : 1 + request["cgroups"]]
    for fd in attach_fds:
        # The process itself, and by "0": writing a pid costs milliseconds after a pause (RCU).
        os.write(fd, b"0")
    if request["network"]:
        sys_.setns(fds[1 + len(attach_fds)], sys_.CLONE_NEWNET)
    if isolation.processes:
        sys_.unshare(sys_.CLONE_NEWCGROUP)
    if isolation.mounts:
        rootfs.mount_private(isolation.private_mounts)
    if isolation.processes:
        socket.sethostname("localhost")  # of its own uts namespace; the host's is none of its
    _open_standard_input()
    os.setsid()
    if not isolation.own_cpu_time:
        # Of the session: where there is such a thing it is this that counts between sessions.
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
            file.write(str(NICENESS))
    for kind, value in limits(isolation):
        _set_limit(kind, value)
    if not isolation.processes:
        _set_limit(strays.RLIMIT_LOCKS, request["mark"])
    _drop_privileges(isolation, request["uid"])
    sys_.die_with_parent(signal.SIGKILL)
    if sys_.has_ended(isolation.supervisor_fd):  # before that was in force
        os._exit(1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        _signal.signal(number, _signal.SIG_DFL)
    if isolation.landlock and isolation.mounts:
        landlock.restrict(read=["/"], write=WRITABLE)
    if isolation.filter:
        seccomp.install(isolation.filter)


def _open_standard_input() -> None:
    """Not the zygote's: flags of an open file are for all to see that share it."""
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)


def limits(isolation: Isolation) -> list[tuple[int, int]]:
    """The resource limits of every instance."""
    found = [
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        # Not 0, which does not keep the kernel from starting a program of the host's to take the
        # dump (core(5), "Piping core dumps to a program"); 1 does, and no dump to a file is that
        # short. It could be lowered: `seccomp` sees to that.
        (resource.RLIMIT_CORE, 1),
    ]
    if isolation.processes_limit:
        found.append((resource.RLIMIT_NPROC, isolation.processes_limit))
    return found


def lowered(kind: int, value: int) -> int:
    """A limit that can be set: not over what this process has."""
    hard = resource.getrlimit(kind)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _set_limit(kind: int, value: int) -> None:
    value = lowered(kind, value)
    resource.setrlimit(kind, (value, value))


def _drop_privileges(isolation: Isolation, uid: int) -> None:
    sys_.no_new_privileges()
    if isolation.own_uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        sys_.set_dumpable(True)
    if isolation.drop_capabilities:
        sys_.drop_capabilities()


def _await_assignment(isolation: Isolation) -> socket.socket:
    """Wait for an instance; take its pipe as stdout and stderr, and return its channel."""
    control = socket.socket(fileno=CONTROL_FD)
    message, fds, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 2)
    if len(fds) != 2:
        os._exit(0)
    control.detach()
    assignment = json.loads(message)
    channel, output = fds
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(channel, CONTROL_FD)  # which closes the control socket
    sys_.close_from(CONTROL_FD + 1)
    if assignment["data_bytes"]:
        _set_limit(resource.RLIMIT_DATA, assignment["data_bytes"])
    if isolation.landlock and not isolation.mounts:
        landlock.restrict(read=readable(assignment["readable"]), write=WRITABLE)
    return socket.socket(fileno=CONTROL_FD)


def readable(own: list[str]) -> list[str]:
    """What may be read without a root of one's own: an instance may still be kept from what it has
    no use for."""
    system = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/sys", "/run/systemd"]
    return [path for path in system + own if os.path.exists(path)]
