"""What each instance holds of the machine: a cgroup, a network and a pid namespace, a uid.

How this works. A blank takes a set (`Resources`) when it is forked and gives it back when no
process of it is left. A cgroup that the kernel still calls busy is tried again until it goes.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
from dataclasses import dataclass
from pathlib import Path

from samovar.model.isolation import Layer
from samovar.sandbox.process.cgroup import Cgroup
from samovar.sandbox.process.children import Children
from samovar.sandbox.process.layers import Ground
from samovar.sandbox.process.network import NetworkNamespace
from samovar.sandbox.process.reaper import Reaper, ReaperPool

# systemd's "Users, Groups, UIDs and GIDs" lists 0x70000000 up to 0x7ffffffe as unused by anyone.
_UID_BASE = 0x70000000
_UIDS_PER_SERVER = 1 << 13
_SERVERS = (1 << 28) // _UIDS_PER_SERVER

_READY = 8
"""Network and pid namespaces, besides those that blanks hold; some 0.3 MiB of the kernel's memory
each."""

NAMED_UIDS = 1024
"""How many of them, from the lowest, are in an instance's /etc/passwd."""


@dataclass(slots=True)
class Resources:
    """One instance's share."""

    mark: int
    """Its number, by which `strays` knows what belongs to it."""
    uid: int = 0
    cgroup: Cgroup | None = None
    network: NetworkNamespace | None = None
    reaper: Reaper | None = None

    def attach_fds(self) -> list[int]:
        """What the instance's first process writes "0" into, to be in its cgroup."""
        return list(self.cgroup.attach_fds) if self.cgroup else []


class ResourcePool:
    """Hands out resources and takes them back."""

    def __init__(self, name: str, ground: Ground, children: Children) -> None:
        self._ground = ground
        self._reapers = (
            ReaperPool(children, user_namespace=ground.user_namespace)
            if Layer.PROCESSES in ground.layers
            else None
        )
        self._own_uids = Layer.USER in ground.layers
        self._free_uids = list(uid_range(name))  # a heap: the lowest first, see NAMED_UIDS
        self._count = 0

    def take(self) -> Resources:
        """Raises `OSError` where the machine has no more."""
        self._count += 1
        ground = self._ground
        resources = Resources(self._count)
        try:
            if self._own_uids:
                resources.uid = self._take_uid()
            if ground.cgroups:
                resources.cgroup = ground.cgroups.create(f"i{self._count}")
                resources.cgroup.set_cpu(INIT_VCPUS)
                if Layer.PIDS in ground.layers:
                    resources.cgroup.set_pids(PIDS_PER_INSTANCE)
                if Layer.MEMORY in ground.layers:
                    resources.cgroup.set_socket_memory(SOCKET_BYTES_PER_INSTANCE)
            if ground.networks:
                resources.network = ground.networks.take()
            if self._reapers:
                resources.reaper = self._reapers.take()
        except OSError:
            self.give_back(resources)
            raise
        return resources

    def give_back(self, resources: Resources) -> bool:
        """Release what nothing runs in any more; False while the cgroup is still busy."""
        if resources.cgroup:
            if not resources.cgroup.remove(wait_s=0):
                return False
            resources.cgroup = None
        if resources.network and self._ground.networks:
            self._ground.networks.give_back(resources.network)
            resources.network = None
        if resources.uid:
            heapq.heappush(self._free_uids, resources.uid)
            resources.uid = 0
        return True

    def fill_one(self) -> bool:
        """Make one more of what can be made ahead of time; return whether that was called for."""
        networks, reapers = self._ground.networks, self._reapers
        try:
            return bool(
                (networks and networks.fill_one(_READY)) or (reapers and reapers.fill_one(_READY))
            )
        except OSError:
            return False  # whoever needs one is told why

    def close(self) -> None:
        """Have what nobody has taken end."""
        if self._reapers:
            self._reapers.close()

    def _take_uid(self) -> int:
        if not self._free_uids:
            raise OSError(errno.EAGAIN, "all uids are taken")
        return heapq.heappop(self._free_uids)


INIT_VCPUS = 2.0
"""What its init may take, however little memory it declares: until it is settled."""

PIDS_PER_INSTANCE = 1024
"""AWS's quota on processes and threads."""

SOCKET_BYTES_PER_INSTANCE = 32 << 20
"""Where they are counted apart from its memory: some ten connections at full speed."""


def server_name(data_dir: Path) -> str:
    """Return what a server is called on its machine: cgroups, interfaces and tables carry it."""
    digest = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()
    return digest[:8]


def uid_range(name: str) -> range:
    """Return the uids of one server's instances; servers of one machine rarely share them."""
    slot = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % _SERVERS
    first = _UID_BASE + slot * _UIDS_PER_SERVER
    return range(first, first + _UIDS_PER_SERVER)
