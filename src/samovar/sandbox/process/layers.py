"""Which layers of isolation this machine allows, and why not the others.

How this works. Documentation cannot tell: kernels, distributions, container engines and cgroup
delegation all say no in ways of their own. So every layer is *tried*, in a forked child that does
what an instance would do, and the child's error becomes the reason that a user reads.

There are two ways to the same layers. With privileges, directly. Without, inside a user namespace
that the supervisor enters for good (`enter_user_namespace`), where it is root over nothing but
what it makes there; all but a uid per instance and a network with a way out can be had so.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from samovar.model.isolation import Layer
from samovar.sandbox.process import interpreters, landlock, rootfs, seccomp
from samovar.sandbox.process import syscalls as sys_
from samovar.sandbox.process.cgroup import CgroupTree
from samovar.sandbox.process.children import Children
from samovar.sandbox.process.network import NetworkPool, NetworkUnavailable
from samovar.sandbox.process.reaper import ReaperPool

SWITCHED_OFF = "switched off"


@dataclass(frozen=True, slots=True)
class Ground:
    """What the supervisor stands on."""

    layers: frozenset[Layer]
    missing: Mapping[Layer, str]
    user_namespace: bool = False
    """Whether the supervisor is to enter one: `enter_user_namespace`."""
    own_proc: bool = True
    """Whether an instance may have a /proc of its own; else its /proc is empty."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Runtimes that instances with these layers could not read → why."""
    cgroups: CgroupTree | None = None
    networks: NetworkPool | None = None

    @property
    def knows_its_peers(self) -> bool:
        """Whether an instance can tell who connects to its loopback: see `guest.peers`."""
        if {Layer.NETWORK, Layer.USER} & self.layers:
            return True
        return self.own_proc or Layer.MOUNTS not in self.layers

    @property
    def no_templates(self) -> str | None:
        """Why no holder of a template (`holder`) would be safe from its function.

        A process of the function that outlives the instance has the holder's memory. So has
        whoever gets a descriptor of the instance's /proc/self/mem, over a socket in a network or
        a file system that instances share; Landlock lets none be opened. Without any layer there
        is nothing to be safe from."""
        lacking = [Layer.PROCESSES] if Layer.PROCESSES not in self.layers else []
        if Layer.LANDLOCK not in self.layers:
            lacking += [
                layer for layer in (Layer.NETWORK, Layer.MOUNTS) if layer not in self.layers
            ]
        if not self.layers or not lacking:
            return None
        why = self.missing.get(lacking[0], "it is missing")
        return f"a template's memory could be reached without the layer {lacking[0]!s} ({why})"


def survey(
    *, name: str, runtimes: Mapping[str, Sequence[str]], uid: int, disabled: frozenset[Layer]
) -> Ground:
    """Try every layer that is not in `disabled`.

    `name` is this server's on the machine; `runtimes` are names and the files that they use, the
    interpreter first; `uid` is one for an instance. What it opens (cgroups,
    networks) is the caller's to close."""
    missing = dict.fromkeys(disabled, SWITCHED_OFF)
    prefix = interpreters.prefix(next(iter(runtimes.values()), [sys.executable])[0])
    unusable: Mapping[str, str] = {}
    user_namespace, own_proc = _survey_namespaces(prefix, missing)
    simple: dict[Layer, Callable[[], None]] = {
        Layer.CAPABILITIES: _try_capabilities,
        Layer.SECCOMP: _try_seccomp,
        Layer.LANDLOCK: _try_landlock,
    }
    for layer, attempt in simple.items():
        if layer not in missing and (reason := trial(attempt)):
            missing[layer] = reason
    if Layer.USER not in missing:
        if user_namespace:
            missing[Layer.USER] = (
                "without root there is only one uid: instances share the server's, "
                "kept apart by their namespaces"
            )
        else:
            unusable = _survey_uid(uid, runtimes, missing)
    cgroups = _survey_cgroups(name, missing)
    networks = _survey_network(name, user_namespace, missing)
    return Ground(
        layers=frozenset(Layer) - missing.keys(),
        missing=missing,
        user_namespace=user_namespace,
        own_proc=own_proc,
        unusable=unusable,
        cgroups=cgroups,
        networks=networks,
    )


# ---------------------------------------------------------------- namespaces


def _survey_namespaces(prefix: str, missing: dict[Layer, str]) -> tuple[bool, bool]:
    """Find a way to MOUNTS and PROCESSES; return (user namespace needed, own /proc possible)."""
    wanted = {Layer.MOUNTS, Layer.PROCESSES} - missing.keys()
    if not wanted:
        return False, False
    refused = _try_namespaces(wanted, prefix, user_namespace=False)
    user_namespace = bool(refused) and not _try_namespaces(wanted, prefix, user_namespace=True)
    if refused and not user_namespace:
        # What privileges alone give is still worth having.
        missing.update((layer, f"{refused[layer]}; {_user_namespace_hint()}") for layer in refused)
    own_proc = Layer.MOUNTS not in missing and not trial(
        lambda: _try_mounts(prefix, user_namespace, own_proc=True)
    )
    return user_namespace, own_proc


def _try_namespaces(wanted: set[Layer], prefix: str, user_namespace: bool) -> dict[Layer, str]:
    attempts: dict[Layer, Callable[[], None]] = {
        Layer.PROCESSES: lambda: _try_processes(user_namespace),
        Layer.MOUNTS: lambda: _try_mounts(prefix, user_namespace, own_proc=False),
    }
    results = {layer: trial(attempts[layer]) for layer in sorted(wanted)}
    return {layer: reason for layer, reason in results.items() if reason}


def enter_user_namespace() -> None:
    """Become root of a new user namespace, with mounts of its own. For good."""
    uid, gid = os.getuid(), os.getgid()
    sys_.unshare(sys_.CLONE_NEWUSER | sys_.CLONE_NEWNS)
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/self", file).write_text(text)
    sys_.mount(None, "/", None, sys_.MS_REC | sys_.MS_SLAVE)


def _try_processes(user_namespace: bool) -> None:
    if user_namespace:
        enter_user_namespace()
    sys_.unshare(sys_.CLONE_NEWIPC | sys_.CLONE_NEWUTS)
    reaper = ReaperPool(Children(), user_namespace=user_namespace).take()
    sys_.setns(reaper.fd, sys_.CLONE_NEWPID)
    _wait_for(os.fork() or os._exit(0))
    reaper.kill()
    os.waitpid(reaper.pid, 0)


def _try_mounts(prefix: str, user_namespace: bool, *, own_proc: bool) -> None:
    """Build the root that instances live in, and what each adds to it."""
    if user_namespace:
        enter_user_namespace()
    if own_proc:  # it shows a pid namespace, so it takes one
        sys_.unshare(sys_.CLONE_NEWPID)
    sys_.unshare(sys_.CLONE_NEWNS)
    plan = rootfs.private_mounts(own_proc)
    rootfs.enter_template_root(prefix, range(1), None, user_namespace)
    pid = os.fork()
    if pid == 0:
        try:
            sys_.unshare(sys_.CLONE_NEWNS)
            rootfs.mount_private(plan)
            os._exit(0)
        finally:
            os._exit(1)
    _wait_for(pid)


def _wait_for(pid: int) -> None:
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise OSError(f"a child in new namespaces ended with {status}")


def _user_namespace_hint() -> str:
    """What a user can do about namespaces that are refused."""
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "run as root, or: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    if _sysctl("user/max_user_namespaces") == "0":
        return "run as root, or: sysctl user.max_user_namespaces=15000"
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "run as root, or: sysctl kernel.unprivileged_userns_clone=1"
    return "run as root; in a container, give it privileges (docker run --privileged)"


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


# ---------------------------------------------------------------- the other layers


def _try_capabilities() -> None:
    sys_.no_new_privileges()
    sys_.drop_bounding_set()
    sys_.drop_capabilities()


def _try_seccomp() -> None:
    sys_.no_new_privileges()
    seccomp.install(seccomp.compiled())


def _try_landlock() -> None:
    sys_.no_new_privileges()
    landlock.restrict(read=["/"], write=["/tmp"])  # noqa: S108 - where instances may write


def _survey_uid(
    uid: int, runtimes: Mapping[str, Sequence[str]], missing: dict[Layer, str]
) -> Mapping[str, str]:
    """Try USER; return the runtimes that are not to be had with it."""
    if reason := trial(lambda: _try_uid(uid)):
        missing[Layer.USER] = f"instances share the server's uid: {reason}"
    if Layer.USER in missing or Layer.MOUNTS not in missing:
        return {}
    refused = {
        runtime: f"only the server's own user can reach {path}"
        for runtime, paths in runtimes.items()
        for path in paths
        if trial(functools.partial(_try_uid, uid, path))
    }
    if refused.keys() == runtimes.keys():
        # Less isolation is better than none of the runtimes.
        missing[Layer.USER] = f"instances share the server's uid: {'; '.join(refused.values())}"
        return {}
    return refused


def _try_uid(uid: int, used_path: str = "/") -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.stat(used_path)


def _survey_cgroups(name: str, missing: dict[Layer, str]) -> CgroupTree | None:
    controllers = {Layer.MEMORY, Layer.CPU, Layer.PIDS}
    if controllers <= missing.keys():
        return None
    tree = CgroupTree.open(name)
    for layer in controllers - missing.keys() - tree.controllers:
        missing[layer] = tree.missing.get(layer, "no cgroup controller for it")
    return tree if tree.controllers else None


def _survey_network(
    name: str, user_namespace: bool, missing: dict[Layer, str]
) -> NetworkPool | None:
    if Layer.NETWORK in missing:
        return None
    if user_namespace or (Layer.MOUNTS in missing and os.getuid() != 0):
        missing[Layer.NETWORK] = (
            "without root an own network would have no way out: instances share the host's"
        )
        return None
    try:
        pool = NetworkPool.open(name)
    except NetworkUnavailable as error:
        missing[Layer.NETWORK] = f"{error}: instances share the host's network"
        return None
    if not pool.has_egress:
        missing.setdefault(Layer.EGRESS, pool.egress_reason)
    return pool


# ---------------------------------------------------------------- trials


def trial(attempt: Callable[[], None]) -> str | None:
    """Run `attempt` in a forked child; return None where it worked, else what it raised."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _attempt(attempt, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as report:
        reason = report.read(1000).decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 0:
        return None
    return reason or f"the trial ended with status {status}"


def _attempt(attempt: Callable[[], None], writer: int) -> NoReturn:
    try:
        attempt()
        os._exit(0)
    except BaseException as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        # Not more than a pipe takes, and no file left to be flushed twice.
        os.write(writer, reason.encode()[:1000])
    finally:
        os._exit(1)
