"""Network namespaces for instances: ready in advance, each with a loopback and a way out.

How this works. A namespace costs about a millisecond to make and microseconds to enter, so the
pool makes them ahead of time, one at each `fill_one`. Each has its own `lo`, an `eth0` that leads
to the platform's router (`router.py`) and from there to the internet, and no IPv6 but `::1`.
Where there can be no router, it has `lo` alone.

A namespace is used again only if not one packet has gone over any of its interfaces. Otherwise
something might be left for the next instance, of another function, to find: connections whose
remote end still sends, ports in TIME_WAIT, path metrics, counters (network_namespaces(7)).

Entering another namespace is for the whole thread, so this is for single-threaded processes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections import deque
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import Path

from samovar.sandbox.process import netlink
from samovar.sandbox.process.netlink import Netlink
from samovar.sandbox.process.router import RANGES, Router, inside

RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second lists what the stub of the first (127.0.0.53) forwards to."""

_LO_INDEX, _ETH0_INDEX = 1, 2
_TRIES = 64
_MOST_READY = 128
"""How many used ones are kept: each holds some 0.3 MiB of the kernel's memory."""


class NetworkUnavailable(Exception):  # noqa: N818 - it reads as what it says
    """There can be no network namespaces here; the text says why."""


class NetworkNamespace:
    """One instance's network."""

    fd: int
    """For setns."""
    address: IPv4Address | None
    """On its eth0; None where it has only a loopback."""

    def __init__(self, fd: int, connection: Netlink, number: int) -> None:
        self.fd = fd
        self.address = None
        self.number = number
        self._netlink = connection

    def untouched(self) -> bool:
        """Return whether no packet has ever gone over its interfaces."""
        indexes = (_LO_INDEX,) if self.address is None else (_LO_INDEX, _ETH0_INDEX)
        try:
            links = [self._netlink.ask(netlink.get_link(index=index)) for index in indexes]
        except OSError:
            return False
        return not any(netlink.parse_link(link).packets for link in links)

    def close(self) -> None:
        """Let go; the kernel removes it when no process is in it."""
        self._netlink.close()
        os.close(self.fd)


class NetworkPool:
    """The network namespaces of one platform."""

    has_egress: bool
    egress_reason: str
    """Why there is no way out; empty if there is."""
    nameservers: tuple[str, ...]
    """For the instances' resolv.conf: what of the host's resolvers they can reach."""

    def __init__(self, router: Router | None, reason: str, nameservers: tuple[str, ...]) -> None:
        self._router = router
        self.egress_reason = reason
        self.has_egress = not reason
        self.nameservers = nameservers
        self._ready: deque[NetworkNamespace] = deque()
        self._taken: set[NetworkNamespace] = set()
        self._free = deque(range(1, router.room + 1)) if router else deque[int]()

    @classmethod
    def open(cls, name: str, ranges: Sequence[IPv4Network] = RANGES) -> NetworkPool:
        """Clear what an earlier life of `name` left on the host, and connect anew.

        Raises `NetworkUnavailable` where not even a namespace can be had.
        """
        try:
            _make_namespace().close()
        except OSError as error:
            raise NetworkUnavailable(f"no network namespaces: {error.strerror}") from error
        nameservers = reachable_nameservers(RESOLVER_FILES)
        try:
            router = Router(name, ranges, nameservers)
        except OSError as error:
            return cls(None, f"no router: {error.strerror}", ())
        return cls(router, router.egress_reason, tuple(map(str, nameservers)))

    def take(self) -> NetworkNamespace:
        """Return one that is ready, or else make it. Raises `OSError`."""
        namespace = self._ready.popleft() if self._ready else self._make()
        self._taken.add(namespace)
        return namespace

    def give_back(self, namespace: NetworkNamespace) -> None:
        """Take it back, when no process is in it any more."""
        self._taken.remove(namespace)
        if len(self._ready) < _MOST_READY and namespace.untouched():
            self._ready.append(namespace)
            return
        namespace.close()
        if namespace.number:
            self._free.append(namespace.number)

    def fill(self, count: int) -> None:
        """Have `count` ready. Raises `OSError`."""
        while self.fill_one(count):
            pass

    def fill_one(self, count: int) -> bool:
        """Make one if fewer than `count` are ready; return whether it did. Raises `OSError`."""
        if len(self._ready) >= count:
            return False
        self._ready.append(self._make())
        return True

    def close(self) -> None:
        """Remove all, from the host, too. Instances that still run lose their way out."""
        for namespace in (*self._ready, *self._taken):
            namespace.close()
        self._ready.clear()
        self._taken.clear()
        if self._router is not None:
            self._router.close()
            self._router = None

    def _make(self) -> NetworkNamespace:
        namespace = _make_namespace()
        if self._router is None:
            return namespace
        try:
            for _ in range(min(_TRIES, len(self._free))):
                namespace.number = self._free.popleft()
                try:
                    namespace.address = self._router.connect(namespace._netlink, namespace.number)
                except FileExistsError:  # its last one is still on its way out
                    self._free.append(namespace.number)
                else:
                    return namespace
            raise OSError(errno.EADDRNOTAVAIL, "no address is free for another instance")
        except OSError:
            namespace.close()
            raise


def _make_namespace() -> NetworkNamespace:
    with inside():
        fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        connection = None
        try:
            connection = Netlink(netlink.ROUTE)
            connection.do(netlink.link_up(_LO_INDEX))
        except OSError:
            os.close(fd)
            if connection:
                connection.close()
            raise
    return NetworkNamespace(fd, connection, 0)


def reachable_nameservers(files: Sequence[Path]) -> list[IPv4Address]:
    """Return the host's resolvers, but those that run on the host itself: instances cannot
    reach those. Of several files, the first that has a resolver that they can."""
    with Netlink(netlink.ROUTE) as host:
        for file in files:
            text = ""
            with contextlib.suppress(OSError):
                text = file.read_text(errors="replace")
            found = []
            for address in re.findall(r"^\s*nameserver\s+(\S+)", text, re.MULTILINE):
                with contextlib.suppress(AddressValueError):  # IPv6
                    found.append(IPv4Address(address))
            reachable = [address for address in found if not _is_ours(host, address)]
            if reachable:
                return reachable
    return []


def _is_ours(host: Netlink, address: IPv4Address) -> bool:
    try:
        route = netlink.parse_route(host.ask(netlink.find_route(address)))
    except OSError:
        return False  # no way there at present
    return route.kind == netlink.TYPE_LOCAL
