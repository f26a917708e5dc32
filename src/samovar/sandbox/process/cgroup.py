"""Hard limits on what an instance as a whole may use: memory, CPU, processes.

How this works. A *cgroup* is a directory in a kernel file system; a process belongs to one in each
hierarchy, and so do its children. Hosts differ:

    v1      one hierarchy per controller, /sys/fs/cgroup/memory, .../cpu, .../pids
            (Documentation/admin-guide/cgroup-v1/)
    v2      one hierarchy for all (Documentation/admin-guide/cgroup-v2.rst)
    hybrid  v1 for some controllers, v2 (perhaps without any controller) beside it

We look for each controller by itself (`hierarchy.py`), so every mixture works. In each hierarchy
that has one of ours we make a directory `samovar-NAME`, the *tree*, and in it one per instance.
What works is found by trial: a child is put into a cgroup with limits. What fails is *missing*.

Processes join by themselves: the child writes `0` into fds that were opened here. Writing another
process's pid costs 6.5 ms after an idle pause (a wait for RCU), this 0.1 ms.

Tree and instances are removed at `close`; what a killed life left is found by its name, in the
whole hierarchy (our own cgroup may be another one by then), at the next `open`. So a name must
belong to one platform on a machine.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass, replace

from samovar.model.isolation import Layer
from samovar.sandbox.process.hierarchy import (
    CONTROLLERS,
    CgroupFiles,
    Hierarchy,
    find,
    kill_all,
    processes,
    remove,
    remove_named,
    remove_tree,
    subdue,
)
from samovar.sandbox.process.meters import meter_files

CPU_PERIOD_US = 20_000
"""AWS Lambda's; short, so that a throttled instance waits for 20 ms at most and not for 100."""
MIN_CPU_QUOTA_US = 1_000
"""The kernel's (kernel/sched/core.c, min_cfs_quota_period)."""

_REMOVE_WAIT_S = 0.003
_V2_ABOVE_HIGH = 32
"""The end is a 32nd above where slowing down begins."""
_TRIAL_MEMORY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Place:
    """Our tree in one hierarchy, and which layers it gives."""

    tree: str
    version: int
    layers: frozenset[Layer]


class Cgroup:
    """The limits of one instance: a directory in each hierarchy. Not to be used after `kill`.

    Setting a limit whose controller is missing does nothing.
    """

    attach_fds: list[int]
    """Open for writing. A (single-threaded) child joins by writing b"0" into each."""
    meters: dict[str, int]
    """Open for reading: what tells of its use (see `meters`)."""

    def __init__(self, files: CgroupFiles, places: list[_Place], name: str) -> None:
        self._files = files
        self._of = {
            layer: (place.version, f"{place.tree}/{name}")
            for place in places
            for layer in place.layers
        }
        self._directories: list[str] = []
        self.attach_fds = []
        self.meters = {}
        try:
            for place in places:
                directory = f"{place.tree}/{name}"
                files.mkdir(directory)
                self._directories.append(directory)
                join = "tasks" if place.version == 1 else "cgroup.procs"
                fd = os.open(f"{directory}/{join}", os.O_WRONLY | os.O_CLOEXEC)
                self.attach_fds.append(fd)
            self._set_constants()
        except OSError:
            self.remove()
            raise

    def _set_constants(self) -> None:
        self.meters = meter_files(self._of)
        version, directory = self._of.get(Layer.MEMORY, (0, ""))
        if version == 2:
            with contextlib.suppress(FileNotFoundError):  # a kernel without swap
                self._files.write(f"{directory}/memory.swap.max", "0")
        elif version == 1:
            with contextlib.suppress(FileNotFoundError):
                # Its own limit is deadly, whatever it was born with: see `CgroupTree.limit_memory`.
                self._files.write(f"{directory}/memory.oom_control", "0")
        if self._of.get(Layer.CPU, (0, ""))[0] == 1:
            period = f"{self._of[Layer.CPU][1]}/cpu.cfs_period_us"
            self._files.write(period, str(CPU_PERIOD_US))

    def set_memory(self, limit_bytes: int) -> None:
        """Limit memory, with nothing swapped out. Raises `OSError` (EBUSY: more is in use)."""
        if Layer.MEMORY not in self._of:
            return
        version, directory = self._of[Layer.MEMORY]
        if version == 2:
            self._files.write(f"{directory}/memory.max", str(limit_bytes))
        else:
            _set_memory_v1(self._files, directory, limit_bytes)

    def set_socket_memory(self, limit_bytes: int) -> None:
        """Limit what sockets hold where that is counted apart (v1), and only if there is a limit;
        in v2 it counts as memory. To be called before there are sockets."""
        version, directory = self._of.get(Layer.MEMORY, (2, ""))
        if version == 1:
            with contextlib.suppress(FileNotFoundError):  # a kernel without CONFIG_MEMCG_KMEM
                self._files.write(f"{directory}/memory.kmem.tcp.limit_in_bytes", str(limit_bytes))

    def set_cpu(self, vcpus: float) -> None:
        """Limit CPU time to `vcpus` seconds a second.

        Where there is too little for all, shares are equal, as they are by default: whoever may
        have less than that has all of it, and the others share what remains. Shares by `vcpus`
        would have those who ask for little wait for those who take what they can get: for hundreds
        of ms rather than tens (`benchmarks contention`)."""
        if Layer.CPU not in self._of:
            return
        version, directory = self._of[Layer.CPU]
        quota = max(MIN_CPU_QUOTA_US, int(vcpus * CPU_PERIOD_US))
        if version == 2:
            self._files.write(f"{directory}/cpu.max", f"{quota} {CPU_PERIOD_US}")
            return
        path = f"{directory}/cpu.cfs_quota_us"
        try:
            self._files.write(path, str(quota))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # More than the surroundings have, which v1 refuses: then theirs is the limit.
            self._files.write(path, "-1")

    def set_pids(self, limit: int) -> None:
        """Limit processes and threads together."""
        if Layer.PIDS in self._of:
            self._files.write(f"{self._of[Layer.PIDS][1]}/pids.max", str(limit))

    def oom_killed(self) -> bool:
        """Return whether the kernel has killed a process of it for lack of memory."""
        if Layer.MEMORY not in self._of:
            return False
        version, directory = self._of[Layer.MEMORY]
        file = "memory.oom_control" if version == 1 else "memory.events"
        for line in self._files.read(f"{directory}/{file}").splitlines():
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value) > 0
        return False

    def processes(self) -> set[int]:
        """Who is in it."""
        return set().union(*(processes(self._files, path) for path in self._directories))

    def kill(self) -> None:
        """Kill every process in it, also one that forks as fast as it can. Does not wait."""
        for directory in self._directories:
            subdue(self._files, directory)
        for directory in self._directories:
            kill_all(self._files, directory)

    def seal(self) -> None:
        """Close `attach_fds`: nobody will join any more. `remove` does that, too."""
        for fd in self.attach_fds:
            os.close(fd)
        self.attach_fds = []

    def hand_over(self, *but: str) -> None:
        """Close `meters`, but for some: whoever reads them has got them by now."""
        for meter in self.meters.keys() - set(but):
            os.close(self.meters.pop(meter))

    def remove(self, wait_s: float = _REMOVE_WAIT_S) -> bool:
        """Release it, trying for `wait_s`; False if a process is still there: call again."""
        self.seal()
        self.hand_over()
        self._directories = [
            path for path in self._directories if not remove(self._files, path, wait_s)
        ]
        return not self._directories


class CgroupTree:
    """All cgroups of one platform."""

    controllers: frozenset[Layer]
    """What works here: of MEMORY, CPU and PIDS."""
    missing: dict[Layer, str]
    """What does not, and why."""

    def __init__(self, files: CgroupFiles, places: list[_Place], missing: dict[Layer, str]) -> None:
        self._files = files
        self._places = places
        self.controllers = frozenset(layer for place in places for layer in place.layers)
        self.missing = missing

    @classmethod
    def open(cls, name: str, files: CgroupFiles | None = None) -> CgroupTree:
        """Clear what an earlier life of `name` left, and begin anew.

        It forks (for the trial), so call it while there is one thread. It does not fail for lack
        of cgroups: see `missing`.
        """
        files = files or CgroupFiles()
        hierarchies, missing = find(files)
        places = []
        for hierarchy in hierarchies:
            remove_named(files, hierarchy, f"samovar-{name}")
            try:
                place = _settle(files, hierarchy, f"samovar-{name}")
                missing |= dict.fromkeys(hierarchy.layers - place.layers, "not delegated to us")
                refused = _try_out(files, place)
            except OSError as error:
                refused = dict.fromkeys(hierarchy.layers, _reason(files, error))
            missing = refused | missing
            if hierarchy.layers <= missing.keys():
                remove_named(files, hierarchy, f"samovar-{name}")
            else:
                places.append(replace(place, layers=hierarchy.layers - missing.keys()))
        return cls(files, places, missing)

    def limit_memory(self, limit_bytes: int) -> None:
        """Limit what all instances together may use, so that the kernel never chooses one of them
        to die: what goes beyond is held up until there is room, which the server makes (see
        `worker.pressure`). Each one's own limit stays deadly.

        v1: whoever needs a page sleeps. v2 has nothing like that; from `limit_bytes` on it slows
        down whoever allocates, by seconds for a few pages, and a little above is the end.
        Raises `OSError`.
        """
        for place in self._places:
            if Layer.MEMORY not in place.layers:
                continue
            if place.version == 1:
                with contextlib.suppress(FileNotFoundError):
                    self._files.write(f"{place.tree}/memory.oom_control", "1")
                _set_memory_v1(self._files, place.tree, limit_bytes)
            else:
                end_bytes = limit_bytes + limit_bytes // _V2_ABOVE_HIGH
                self._files.write(f"{place.tree}/memory.high", str(limit_bytes))
                self._files.write(f"{place.tree}/memory.max", str(end_bytes))

    def meters(self) -> dict[str, int]:
        """What tells of the use of all instances together; the descriptors are the caller's."""
        trees = {
            layer: (place.version, place.tree) for place in self._places for layer in place.layers
        }
        return meter_files(trees)

    def create(self, instance_id: str) -> Cgroup:
        """Make the cgroup of an instance, without limits yet. Raises `OSError`."""
        return Cgroup(self._files, self._places, instance_id)

    def close(self) -> None:
        """Kill what is left in it, and remove all. Bounded by seconds."""
        for place in self._places:
            remove_tree(self._files, place.tree)
        self._places = []


def _set_memory_v1(files: CgroupFiles, directory: str, limit_bytes: int) -> None:
    limit = str(limit_bytes)
    memory = f"{directory}/memory.limit_in_bytes"
    try:
        files.write(memory, limit)
        raising = False
    except OSError as error:  # the first must never be over the second
        if error.errno != errno.EINVAL:
            raise
        raising = True
    try:
        files.write(f"{directory}/memory.memsw.limit_in_bytes", limit)
    except FileNotFoundError:  # swap is not accounted for: at least do not ask for it
        files.write(f"{directory}/memory.swappiness", "0")
    if raising:
        files.write(memory, limit)


def _settle(files: CgroupFiles, hierarchy: Hierarchy, name: str) -> _Place:
    tree = f"{hierarchy.parent(files)}/{name}"
    with contextlib.suppress(FileExistsError):  # something in it would not die
        files.mkdir(tree)
    layers = hierarchy.layers
    if hierarchy.version == 2:
        available = files.read(f"{tree}/cgroup.controllers").split()
        layers = frozenset(layer for layer in layers if CONTROLLERS[layer] in available)
        names = " ".join(f"+{CONTROLLERS[layer]}" for layer in sorted(layers))
        files.write(f"{tree}/cgroup.subtree_control", names)
    return _Place(tree, hierarchy.version, layers)


def _try_out(files: CgroupFiles, place: _Place) -> dict[Layer, str]:
    """Limit a child of ours; return what does not work. Raises `OSError` if nothing does."""
    cgroup = Cgroup(files, [place], "trial")
    reasons = {}
    try:
        for layer in sorted(place.layers):
            try:
                if layer is Layer.MEMORY:
                    cgroup.set_memory(_TRIAL_MEMORY_BYTES)
                elif layer is Layer.CPU:
                    cgroup.set_cpu(0.5)
                else:
                    cgroup.set_pids(8)
            except OSError as error:
                reasons[layer] = _reason(files, error)
        code = _join_in_child(cgroup.attach_fds)
        if code:
            raise OSError(code, os.strerror(code), place.tree)
    finally:
        cgroup.remove(wait_s=1.0)
    return reasons


def _join_in_child(fds: list[int]) -> int:
    """Have a child join; return 0 or its errno."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            for fd in fds:
                os.write(fd, b"0")
        except OSError as error:
            code = error.errno or errno.EIO
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _reason(files: CgroupFiles, error: OSError) -> str:
    text = f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
    if error.errno in (errno.EACCES, errno.EPERM) and not files.is_root():
        text += "; run as root, or under `systemd-run --user --scope -p Delegate=yes`"
    return text
