"""A process of the sandbox as the supervisor knows it: first a blank, then an instance.

How this works. A *cell* is born when a zygote is asked to fork it, is *ready* when it has isolated
itself, is *assigned* to one start, and is gone when it has been reaped and its resources are given
back. It is killed by killing its reaper: the kernel ends the whole pid namespace with it, and the
reaper itself can be reaped only after all others. Where there is no pid namespace, its process is
killed, and then what is in its cgroup, or else its session and descendants.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import dataclass

from samovar.sandbox.process import children
from samovar.sandbox.process import syscalls as sys_
from samovar.sandbox.process.resources import Resources
from samovar.sandbox.process.rootfs import (
    DEFAULT_TMP_MIB,
    FROZEN,
    LAYERS_ROOT,
    TASK_ROOT,
    tmp_options,
)


@dataclass(eq=False, slots=True)
class Start:
    """One instance that the driver wants, from its request to its exit."""

    id: str
    runtime: str
    code_dir: str
    layers_dir: str | None
    memory_bytes: int
    tmp_mib: int
    fds: list[int]
    """The instance's ends of its channel and of its output pipe; ours until it has them."""
    template: str | None = None
    """The id of the start that it is forked from."""
    cell: Cell | None = None
    stopped: bool = False

    def close_fds(self) -> None:
        """To be called once it has them, or never will."""
        while self.fds:
            os.close(self.fds.pop())


@dataclass(eq=False, slots=True)
class Cell:
    """One process (and what it starts) with what it holds."""

    control: socket.socket
    resources: Resources
    pid: int = 0
    """0 until the zygote has told."""
    end: children.End | None = None
    """How its process ended, or its reaper did."""
    ready: bool = False
    mount_ns_fd: int = -1
    start: Start | None = None
    failure: str | None = None

    def kill(self) -> None:
        """Have it end; that is to be reaped."""
        if self.resources.reaper:
            self.resources.reaper.kill()
        elif self.end is None:  # else its number may be another's
            children.kill(self.pid)

    def peak_memory_bytes(self) -> int:
        """The most that it has used; to be asked before its cgroup is removed."""
        cgroup = self.resources.cgroup
        if cgroup and "peak" in cgroup.meters:
            with contextlib.suppress(OSError, ValueError):
                return int(os.pread(cgroup.meters["peak"], 64, 0))
        return self.end.peak_memory_bytes if self.end else 0

    def count_others(self, holder_pid: int) -> int:
        """How many processes it has besides its first one and a template's holder."""
        if self.resources.cgroup:
            return len(self.resources.cgroup.processes() - {self.pid, holder_pid})
        children_of = f"/proc/{self.pid}/task/{self.pid}/children"
        with contextlib.suppress(OSError), open(children_of) as file:
            return len(file.read().split())
        return 0

    def open_mounts(self) -> None:
        """Keep a way into its mount namespace, for `install`."""
        self.mount_ns_fd = os.open(f"/proc/{self.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def assign(self, start: Start, *, data_bytes: int | None, readable: list[str]) -> None:
        """Make it the instance of `start`, which gives it its channel and its output."""
        message = json.dumps({"data_bytes": data_bytes, "readable": readable}).encode()
        self.start = start
        start.cell = self
        # Then it may open /dev/stdout, which is its pipe, by name.
        if self.resources.uid:
            os.fchown(start.fds[1], self.resources.uid, self.resources.uid)
        socket.send_fds(self.control, [message], start.fds)
        start.close_fds()
        self.close()

    def close(self) -> None:
        """Give up the control socket, which makes a blank end, and the way in."""
        self.control.close()
        if self.mount_ns_fd >= 0:
            os.close(self.mount_ns_fd)
            self.mount_ns_fd = -1


class Installer:
    """Puts code into a cell from outside, before any of the function's code runs in there."""

    def __init__(self) -> None:
        self._home_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def install(self, cell: Cell, start: Start) -> None:
        """Mount code and layers read-only and size /tmp. Raises `OSError`; the cell is then
        unusable."""
        places = {TASK_ROOT: start.code_dir}
        if start.layers_dir:
            places[LAYERS_ROOT] = start.layers_dir
        trees: dict[str, int] = {}
        try:
            for target, directory in places.items():
                trees[target] = sys_.clone_tree(directory)
                sys_.set_mount_attributes(FROZEN, tree_fd=trees[target])
            sys_.setns(cell.mount_ns_fd, sys_.CLONE_NEWNS)
            try:
                for target, tree_fd in trees.items():
                    sys_.attach_tree(tree_fd, target)
                if start.tmp_mib != DEFAULT_TMP_MIB:
                    flags = sys_.MS_REMOUNT | sys_.MS_NOSUID | sys_.MS_NODEV
                    sys_.mount(None, "/tmp", None, flags, tmp_options(start.tmp_mib))  # noqa: S108
            finally:
                sys_.setns(self._home_fd, sys_.CLONE_NEWNS)
        finally:
            for tree_fd in trees.values():
                os.close(tree_fd)
