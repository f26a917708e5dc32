"""The cgroup hierarchies of this machine: where we may create, and how to empty and remove.

How this works. `find` reads the mounts (proc_pid_mountinfo(5)) and our own cgroups
(/proc/self/cgroup, cgroups(7)) and returns, for each mount that has a controller of ours, a
`Hierarchy`. Its `parent` is the directory to create in, made ready for that:

- v1: our own present cgroup, so that limits set on us from outside hold for all instances.
- v2: the top of what we see if we are root, else our own cgroup, if it is delegated to us
  (Documentation/admin-guide/cgroup-v2.rst, "Delegation"). A cgroup whose children have controllers
  must not hold processes itself ("No Internal Process Constraint"; the real root is exempt), so
  those that are in the way are moved to a leaf, `samovar-host`. They stay there: it is as limited
  as where they were.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from samovar.model.isolation import Layer

CONTROLLERS: Mapping[Layer, str] = {
    Layer.MEMORY: "memory",
    Layer.CPU: "cpu",
    Layer.PIDS: "pids",
}

_HOST_LEAF = "samovar-host"
_CLEAR_WAIT_S = 5.0
_POLL_S = 0.0003
_ROUNDS = 50
"""How often we go after processes that appear while we look."""


class CgroupFiles:
    """The kernel's files, so that tests can have another kernel."""

    def is_root(self) -> bool:
        return os.geteuid() == 0

    def mounts(self) -> str:
        return Path("/proc/self/mountinfo").read_text()

    def own(self) -> str:
        return Path("/proc/self/cgroup").read_text()

    def read(self, path: str) -> str:
        return Path(path).read_text()

    def write(self, path: str, text: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(fd)

    def mkdir(self, path: str) -> None:
        os.mkdir(path)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted cgroup file system that has `layers` to offer."""

    mount_point: str
    own: str
    """The directory of our own cgroup."""
    version: int
    layers: frozenset[Layer]

    def parent(self, files: CgroupFiles) -> str:
        """Return where to create, made ready for that. Raises `OSError`."""
        if self.version == 1:
            return self.own
        own = self.own.removesuffix(f"/{_HOST_LEAF}")
        candidates = [self.mount_point, own] if files.is_root() else [own]
        problems = []
        for candidate in dict.fromkeys(candidates):
            try:
                _delegate(files, candidate, self.layers)
            except OSError as error:
                problems.append(error)
            else:
                return candidate
        raise problems[0]


def find(files: CgroupFiles) -> tuple[list[Hierarchy], dict[Layer, str]]:
    """Return the hierarchies that have a controller of ours, and why others are missing."""
    own = {}
    for line in files.own().splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    hierarchies = []
    left = dict(CONTROLLERS)
    for root, mount_point, version, options in _mounts(files):
        if version == 2:
            with contextlib.suppress(OSError):
                options = set(files.read(f"{mount_point}/cgroup.controllers").split())
        layers = frozenset(layer for layer, name in left.items() if name in options)
        if not layers:
            continue
        left = {layer: name for layer, name in left.items() if layer not in layers}
        name = "" if version == 2 else CONTROLLERS[min(layers)]
        directory = _below(mount_point, root, own.get(name, "/"))
        hierarchies.append(Hierarchy(mount_point, directory, version, layers))
    hierarchies.sort(key=lambda one: Layer.PIDS not in one.layers)  # forks are stopped first
    return hierarchies, {layer: f"no cgroup has {name!r} here" for layer, name in left.items()}


def _mounts(files: CgroupFiles) -> Iterator[tuple[str, str, int, set[str]]]:
    """Yield root, mount point, version and options of cgroup mounts."""
    for line in files.mounts().splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()[0]
        if kind in ("cgroup", "cgroup2"):
            point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            options = set(after.split()[-1].split(","))
            yield fields[3], point, 1 if kind == "cgroup" else 2, options


def _below(mount_point: str, root: str, path: str) -> str:
    """Return where `path` is in a mount that shows `root` (in a container, often its own part)."""
    top = root.rstrip("/")
    if ".." in path.split("/") or not path.startswith(f"{top}/"):
        return mount_point
    return (mount_point + path[len(top) :]).rstrip("/")


def _delegate(files: CgroupFiles, directory: str, layers: frozenset[Layer]) -> None:
    """Give the children of `directory` what controllers it has itself. Raises `OSError`."""
    available = files.read(f"{directory}/cgroup.controllers").split()
    names = [CONTROLLERS[layer] for layer in layers if CONTROLLERS[layer] in available]
    if not names:
        raise OSError(errno.EACCES, "no controllers are delegated", directory)
    problems = []
    for name in names:
        try:
            _enable(files, directory, name)
        except OSError as error:
            problems.append(error)
    if len(problems) == len(names):
        raise problems[0]


def _enable(files: CgroupFiles, directory: str, controller: str) -> None:
    for _ in range(_ROUNDS):
        try:
            files.write(f"{directory}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _move_away(files, directory)
        else:
            return
    raise OSError(errno.EBUSY, "processes keep appearing", directory)


def _move_away(files: CgroupFiles, directory: str) -> None:
    leaf = f"{directory}/{_HOST_LEAF}"
    with contextlib.suppress(FileExistsError):
        files.mkdir(leaf)
    for pid in files.read(f"{directory}/cgroup.procs").split():
        with contextlib.suppress(ProcessLookupError):
            files.write(f"{leaf}/cgroup.procs", pid)


# ------------------------------------------------------------ emptying and removing


def subdue(files: CgroupFiles, directory: str) -> None:
    """Let nothing be forked in `directory`, and what dies in it die at full speed: the dying do
    their own cleaning up, on the cgroup's share of the CPU."""
    for file, text in (("pids.max", "0"), ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max")):
        with contextlib.suppress(OSError):
            files.write(f"{directory}/{file}", text)


def kill_all(files: CgroupFiles, directory: str) -> None:
    """Kill every process in `directory` that we may kill. Does not wait."""
    try:
        files.write(f"{directory}/cgroup.kill", "1")  # v2, Linux 5.14
        return
    except OSError:
        pass
    killed: set[int] = set()
    for _ in range(_ROUNDS):
        new = processes(files, directory) - killed
        if not new:
            return
        _kill_members(files, directory, new)
        killed |= new


def _kill_members(files: CgroupFiles, directory: str, pids: set[int]) -> None:
    """Kill `pids`, but no stranger who has got the number of one that is dead by now."""
    handles = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            handles[pid] = os.pidfd_open(pid)
    members = processes(files, directory)
    for pid, handle in handles.items():
        if pid in members:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)


def processes(files: CgroupFiles, directory: str) -> set[int]:
    """Return who is in `directory`, except who is in a pid namespace beside ours (0)."""
    try:
        return {int(pid) for pid in files.read(f"{directory}/cgroup.procs").split()} - {0}
    except OSError:
        return set()


def remove(files: CgroupFiles, directory: str, wait_s: float) -> bool:
    """Remove one empty cgroup, waiting up to `wait_s` for its dead to be gone."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            files.rmdir(directory)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        else:
            return True


def remove_tree(files: CgroupFiles, tree: str) -> bool:
    """Kill all that runs in `tree` and beneath, and remove it. Bounded by seconds."""
    deadline = time.monotonic() + _CLEAR_WAIT_S
    for directory, _, _ in os.walk(tree, topdown=False):
        subdue(files, directory)
        kill_all(files, directory)
        while not remove(files, directory, 0.01):
            if time.monotonic() >= deadline:
                return False
            kill_all(files, directory)
    return True


def remove_named(files: CgroupFiles, hierarchy: Hierarchy, name: str) -> None:
    """Remove every tree called `name` in `hierarchy`, wherever an earlier life put it."""
    for directory, children, _ in os.walk(hierarchy.mount_point):
        if name in children:
            children.remove(name)
            remove_tree(files, f"{directory}/{name}")
