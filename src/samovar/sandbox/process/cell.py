"""A process of the sandbox as the supervisor knows it: first a blank, then an instance.

How this works. A *cell* is born when a zygote is asked to fork it, is *ready* when it has isolated
itself, is *assigned* to one start, and is gone when it has been reaped and its resources are given
back. It is killed by killing its first process: the kernel ends the whole pid namespace with it,
and the first process can be reaped only after the others. Where there is no pid namespace its
cgroup, or else its session and descendants, are killed too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from dataclasses import dataclass

from samovar.sandbox.process import syscalls as sys_
from samovar.sandbox.process.resources import Resources
from samovar.sandbox.process.rootfs import DEFAULT_TMP_MIB, TASK_ROOT, tmp_options

_FROZEN = sys_.MOUNT_ATTR_RDONLY | sys_.MOUNT_ATTR_NOSUID | sys_.MOUNT_ATTR_NODEV


@dataclass(eq=False, slots=True)
class Start:
    """One instance that the driver wants, from its request to its exit."""

    id: str
    runtime: str
    code_dir: str
    memory_bytes: int
    tmp_mib: int
    fds: list[int]
    """The instance's ends of its channel and of its output pipe; ours until it has them."""
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
    ready: bool = False
    mount_ns_fd: int = -1
    start: Start | None = None
    failure: str | None = None

    def kill(self) -> None:
        """SIGKILL to its first process. It is ours to reap, so the pid cannot be another's."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

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

    def install(self, cell: Cell, code_dir: str, tmp_mib: int) -> None:
        """Mount the code read-only and size /tmp. Raises `OSError`; the cell is then unusable."""
        tree_fd = sys_.clone_tree(code_dir)
        try:
            sys_.set_mount_attributes(_FROZEN, tree_fd=tree_fd)
            sys_.setns(cell.mount_ns_fd, sys_.CLONE_NEWNS)
            try:
                sys_.attach_tree(tree_fd, TASK_ROOT)
                if tmp_mib != DEFAULT_TMP_MIB:
                    flags = sys_.MS_REMOUNT | sys_.MS_NOSUID | sys_.MS_NODEV
                    sys_.mount(None, "/tmp", None, flags, tmp_options(tmp_mib))  # noqa: S108
            finally:
                sys_.setns(self._home_fd, sys_.CLONE_NEWNS)
        finally:
            os.close(tree_fd)
