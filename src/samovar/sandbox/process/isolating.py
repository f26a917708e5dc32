"""The isolation of a fork of a template, as a list of system calls: what `blank` does, in its
order, made by a process in which nothing but the runner is to be trusted.

    runner: pid namespace → clone → tells the pid, forgets what was for its fork
    fork:   cgroup → network → /tmp, /proc → session, rlimits → no_new_privs → uid, capabilities
            → parent-death signal → Landlock → seccomp → descriptors → "ready"
            → its channel and its output come → it goes on where the template was

Descriptors have known numbers, for a process is given the lowest that is free: at first 0, 1, 2 and
the runner's socket (3) are there; what comes with the list begins at 4.

x86_64 only: `ptrace.NOT_HERE`.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
from dataclasses import dataclass

from samovar.sandbox.process import blank, landlock, rootfs, strays
from samovar.sandbox.process import syscalls as sys_
from samovar.sandbox.process.call_list import (
    FAILED,
    FAILURE,
    NEXT,
    RESULT,
    CallList,
    Mark,
    failure_at,
    message_header,
    result_at,
)

_WRITE, _CLOSE, _SENDTO, _RECVMSG, _CLONE = 1, 3, 44, 47, 56
_RT_SIGRETURN = 15
_SETSID, _SETGROUPS, _SETRESUID, _SETRESGID, _CAPSET = 112, 116, 117, 119, 126
_PRCTL, _MOUNT, _SETHOSTNAME, _EXIT_GROUP, _OPENAT = 157, 165, 170, 231, 257
_UMOUNT2, _UNSHARE, _DUP3, _PRLIMIT64, _SETNS = 166, 272, 292, 302, 308
_SECCOMP, _CLONE3, _CLOSE_RANGE = 317, 435, 436
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446

_AT_FDCWD = -100
_MSG_NOSIGNAL = 0x4000
_LAST_FD = 0xFFFFFFFF
_SET_MODE_FILTER = 1
_RULE_PATH_BENEATH = 1

_FIRST_PID, _PIDS = 100, 30_000
"""Of forks, in their namespaces: so many are different before they come again."""

RUNNER_FD = 3
_FIRST_FD = 4
"""The first that comes with a list."""

_ASSIGNMENT_BYTES = 4096
_ASSIGNED, _GONE, _MADE = Mark("assigned"), Mark("gone"), Mark("made")
_NOT_MADE, _TOLD = Mark("not made"), Mark("told")
UP = b"up"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is the same for every fork of a template."""

    data_bytes: int | None
    """RLIMIT_DATA, where no cgroup limits its memory."""
    readable: list[str]
    """What it may read, where it has no root of its own."""


def settle(space: int, forge_fd: int) -> CallList:
    """The first list of a runner: its descriptors become what forks count on."""
    calls = CallList(space)
    if forge_fd != RUNNER_FD:
        calls.call(_DUP3, forge_fd, RUNNER_FD, os.O_CLOEXEC)
    calls.call(_CLOSE_RANGE, RUNNER_FD + 1, _LAST_FD, 0)
    calls.call(_SENDTO, RUNNER_FD, UP, len(UP), _MSG_NOSIGNAL)
    calls.end()
    calls.mark(FAILED)
    calls.call(_SENDTO, RUNNER_FD, failure_at(space), FAILURE.size, _MSG_NOSIGNAL, on_error=NEXT)
    calls.call(_EXIT_GROUP, 1)
    return calls


@dataclass(frozen=True, slots=True)
class Fds:
    """The numbers of what comes with a list, in this order."""

    control: int
    cgroups: range
    network: int
    """0: none."""
    reaper: int
    """Likewise."""
    free: int
    """The lowest that is free."""

    @classmethod
    def of(cls, cgroups: int, *, network: bool, reaper: bool) -> Fds:
        """As many as that."""
        network_fd = _FIRST_FD + 1 + cgroups
        reaper_fd = network_fd + network
        return cls(
            control=_FIRST_FD,
            cgroups=range(_FIRST_FD + 1, network_fd),
            network=network_fd if network else 0,
            reaper=reaper_fd if reaper else 0,
            free=reaper_fd + reaper,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are in a template's memory, and what holds for all of its forks."""

    space: int
    """The runner's."""
    thread_id_address: int
    data_bytes: int | None
    """RLIMIT_DATA, where no cgroup limits their memory."""
    readable: list[str]
    """What they may read, where they have no root of their own."""


def fork(isolation: blank.Isolation, place: Place, fds: Fds, uid: int, mark: int) -> CallList:
    """The list that makes one fork, which takes the uid and, without pid namespaces, the mark."""
    calls = CallList(place.space)
    _clone(calls, isolation, place, fds, _FIRST_PID + mark % _PIDS)
    for fd in fds.cgroups:
        calls.call(_WRITE, fd, b"0", 1)
    if fds.network:
        calls.call(_SETNS, fds.network, sys_.CLONE_NEWNET)
    if isolation.processes:
        calls.call(_UNSHARE, sys_.CLONE_NEWCGROUP)
    if isolation.mounts:
        _mount(calls, isolation)
    if isolation.processes:
        calls.call(_SETHOSTNAME, b"localhost", len(b"localhost"))
    calls.call(_OPENAT, _AT_FDCWD, b"/dev/null\0", os.O_RDWR)
    calls.call(_DUP3, fds.free, 0, 0)
    calls.call(_CLOSE, fds.free)
    calls.call(_SETSID)
    if not isolation.own_cpu_time:
        _be_nice(calls, fds.free)
    _limit(calls, isolation, place, mark)
    _drop_privileges(calls, isolation, uid)
    calls.call(_PRCTL, sys_.PR_SET_PDEATHSIG, signal.SIGKILL)
    _restrict(calls, isolation, place, fds.free)
    calls.call(_DUP3, fds.control, blank.CONTROL_FD, os.O_CLOEXEC)
    calls.call(_CLOSE_RANGE, blank.CONTROL_FD + 1, _LAST_FD, 0)
    _await_assignment(calls)
    _give_up(calls, place, fds)
    _go_on_serving(calls, place)
    return calls


def _clone(calls: CallList, isolation: blank.Isolation, place: Place, fds: Fds, pid: int) -> None:
    """What the runner itself does. In its fork the result is 0, and the next call comes."""
    if fds.reaper:
        calls.call(_SETNS, fds.reaper, sys_.CLONE_NEWPID, on_error=_NOT_MADE)
    flags = isolation.clone_flags() | sys_.CLONE_PARENT
    tid = place.thread_id_address
    if tid:
        flags |= sys_.CLONE_CHILD_SETTID | sys_.CLONE_CHILD_CLEARTID
    if fds.reaper:
        # struct clone_args; it is the second process of its namespace, as its template was, but
        # must not have that one's pid: by that, libraries know that they were forked, and make
        # their randomness anew.
        wanted = calls.put(struct.pack("=i", pid))
        arguments = struct.pack("=10Q", flags, 0, tid, 0, 0, 0, 0, 0, wanted, 1)
        calls.call(_CLONE3, arguments, len(arguments), on_error=_NOT_MADE, on_result=_MADE)
    else:
        calls.call(_CLONE, flags, 0, 0, tid, 0, on_error=_NOT_MADE, on_result=_MADE)


def _mount(calls: CallList, isolation: blank.Isolation) -> None:
    for source, target, kind, flags, data in isolation.private_mounts:
        texts = [0 if text is None else text + b"\0" for text in (source, target, kind, data)]
        calls.call(_MOUNT, *texts[:3], flags, texts[3])
    if isolation.user_namespace:
        calls.call(_UMOUNT2, rootfs.WITNESS_PROC.encode() + b"\0", sys_.MNT_DETACH)


def _be_nice(calls: CallList, free_fd: int) -> None:
    """As `blank`: of the session, where there is such a thing."""
    nice = str(blank.NICENESS).encode()
    path = b"/proc/self/autogroup\0"
    calls.call(_OPENAT, _AT_FDCWD, path, os.O_WRONLY | os.O_CLOEXEC, on_error=NEXT)
    calls.call(_WRITE, free_fd, nice, len(nice), on_error=NEXT)
    calls.call(_CLOSE, free_fd, on_error=NEXT)


def _limit(calls: CallList, isolation: blank.Isolation, place: Place, mark: int) -> None:
    limits = dict(blank.limits(isolation))
    if not isolation.processes:
        limits[strays.RLIMIT_LOCKS] = mark
    if place.data_bytes:
        limits[resource.RLIMIT_DATA] = place.data_bytes
    for kind, value in limits.items():
        lowered = blank.lowered(kind, value)
        calls.call(_PRLIMIT64, 0, kind, struct.pack("=QQ", lowered, lowered), 0)


def _drop_privileges(calls: CallList, isolation: blank.Isolation, uid: int) -> None:
    calls.call(_PRCTL, sys_.PR_SET_NO_NEW_PRIVS, 1)
    if isolation.own_uid:
        calls.call(_SETGROUPS, 0, 0)
        calls.call(_SETRESGID, uid, uid, uid)
        calls.call(_SETRESUID, uid, uid, uid)
        calls.call(_PRCTL, sys_.PR_SET_DUMPABLE, 1)
    if isolation.drop_capabilities:
        ambient = (sys_.PR_CAP_AMBIENT, sys_.PR_CAP_AMBIENT_CLEAR_ALL)
        calls.call(_PRCTL, *ambient, on_error=NEXT)  # before Linux 4.3
        calls.call(_CAPSET, sys_.CAPABILITY_HEADER, sys_.NO_CAPABILITIES)


def _restrict(calls: CallList, isolation: blank.Isolation, place: Place, free_fd: int) -> None:
    """Landlock and seccomp. `free_fd` is the lowest that is free."""
    if isolation.landlock:
        read = ["/"] if isolation.mounts else blank.readable(place.readable)
        plan = landlock.planned(landlock.NEWEST, read, blank.WRITABLE)
        calls.call(_LANDLOCK_CREATE, plan.attributes, len(plan.attributes), 0)
        for path, access in plan.rules:
            calls.call(_OPENAT, _AT_FDCWD, path.encode() + b"\0", os.O_PATH | os.O_CLOEXEC)
            rule = landlock.rule(access, free_fd + 1, os.path.isdir(path))
            calls.call(_LANDLOCK_ADD, free_fd, _RULE_PATH_BENEATH, rule, 0)
            calls.call(_CLOSE, free_fd + 1)
        calls.call(_LANDLOCK_RESTRICT, free_fd, plan.flags)
    if isolation.filter:
        code = bytes(isolation.filter)[:-1]  # ctypes has put a zero behind it
        program = struct.pack("@HP", len(code) // 8, calls.put(code))
        calls.call(_SECCOMP, _SET_MODE_FILTER, 0, program)


def _await_assignment(calls: CallList) -> None:
    """As `blank.live`: say that all is ready, take a channel and an output, go on."""
    calls.call(_SENDTO, blank.CONTROL_FD, blank.READY, len(blank.READY), _MSG_NOSIGNAL)
    header = message_header(calls, _ASSIGNMENT_BYTES, 64)
    calls.call(_RECVMSG, blank.CONTROL_FD, header, 0, on_error=_GONE, on_result=_ASSIGNED)
    calls.call(_EXIT_GROUP, 0)
    calls.mark(_ASSIGNED)
    channel_fd, output_fd = blank.CONTROL_FD + 1, blank.CONTROL_FD + 2
    calls.call(_DUP3, output_fd, 1, 0, on_error=_GONE)
    calls.call(_DUP3, output_fd, 2, 0, on_error=_GONE)
    calls.call(_DUP3, channel_fd, blank.CONTROL_FD, os.O_CLOEXEC, on_error=_GONE)
    calls.call(_CLOSE_RANGE, blank.CONTROL_FD + 1, _LAST_FD, 0, on_error=_GONE)
    calls.call(_RT_SIGRETURN)


def _give_up(calls: CallList, place: Place, fds: Fds) -> None:
    calls.mark(FAILED)
    why = failure_at(place.space)
    calls.call(_SENDTO, fds.control, why, FAILURE.size, _MSG_NOSIGNAL, on_error=NEXT)
    calls.mark(_GONE)
    calls.call(_EXIT_GROUP, 1)


def _go_on_serving(calls: CallList, place: Place) -> None:
    """Tell the fork's pid, or why there is none; forget what was for the fork."""
    calls.mark(_MADE)
    pid, why = result_at(place.space), failure_at(place.space)
    calls.call(_SENDTO, RUNNER_FD, pid, RESULT.size, _MSG_NOSIGNAL, on_result=_TOLD)
    calls.mark(_NOT_MADE)
    calls.call(_SENDTO, RUNNER_FD, why, FAILURE.size, _MSG_NOSIGNAL)
    calls.mark(_TOLD)
    calls.call(_CLOSE_RANGE, RUNNER_FD + 1, _LAST_FD, 0)
    calls.end()
