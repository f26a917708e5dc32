"""The way out: one router for all instances of a platform, between them and the host.

How this works.

    instance's namespace      router's namespace            host's namespace
    eth0 ───── veth ───── i1 ─┐
                              ├─ forward ─ up ── veth ── smv-NAME ─ forward, NAT ─ eth0 ── internet
    eth0 ───── veth ───── i2 ─┘

The router is a network namespace that nobody is in: an fd of ours holds it. When that is closed,
by whatever end of ours, all that is in it goes, and with it the other ends of its pairs.

Every instance has a /31 of a block that nothing on the host has a route for: the even address is
the router's end. Packets have two filters to pass:

- in the router: from outside, only answers. From inside, only with the instance's own source
  (rp_filter), only out (never to another instance nor to the router), to no address of `DENIED`,
  and not over MAX_CONNECTIONS at once: connection tracking is a table of the host's, too.
- on the host: the same once more; and nothing for the host itself, whatever its address and
  whichever port, IPv4 or IPv6. That is checked before any translation of addresses (a container's
  published port), and again on input.

The table on the host is *owned* where the kernel can do that: a firewall's reload (`nft flush
ruleset`) leaves it alone. Where it can, it is persistent as well: after a SIGKILL of ours the
filter must not go before the router has.

Where forwarding was off on the host, we switch it on, and a table `samovar_forwarding` keeps the
machine from becoming a router for its neighbours. That table is also the memory of it, over the
ends of processes: the last platform to close switches forwarding off again.

`probe` tells whether others' filters (Docker's and ufw's drop what they do not know) let our
packets through: one is sent, and counted and dropped behind all of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from samovar.sandbox.process import netlink, nftables
from samovar.sandbox.process.netlink import Netlink
from samovar.sandbox.process.nftables import ACCEPT, COUNT, DROP, MASQUERADE, REJECT, Chain, Filter
from samovar.sandbox.process.syscalls import CLONE_NEWNET, setns, unshare

RANGES = (IPv4Network("198.18.0.0/15"), IPv4Network("100.124.0.0/14"))
"""Benchmarking (RFC 2544) and the upper end of carrier NAT's (RFC 6598): rarely used by hosts."""

BLOCK_PREFIX = 18
"""Addresses for 8,191 instances."""

DENIED = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),  # cloud metadata
    IPv4Network("192.0.0.0/24"),  # the same, elsewhere
    IPv4Network("168.63.129.16/32"),  # Azure's
    IPv4Network("100.100.100.200/32"),  # Alibaba's
    IPv4Network("224.0.0.0/3"),  # multicast, reserved, broadcast
)
MAX_CONNECTIONS = 1024
"""At once, of one instance: as many as AWS allows file descriptors."""

ANYWHERE = IPv4Address("203.0.113.1")
"""For asking which way the internet is (RFC 5737: nobody's). No packet gets there."""

_TABLE_PREFIX = "samovar_"
_GUARD = "samovar_forwarding"
_LOCK = "\0samovar-network"
_LOCK_WAIT_S = 5.0
_PROBE_WAIT_S = 2.0
_POLL_S = 0.001
_UP_INDEX = 2
_FIRST_INDEX = 1000
_IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def host_interface(name: str) -> str:
    """Return what the host's end is called: 15 characters at most."""
    fits = re.fullmatch("[a-z0-9]{1,11}", name)
    return "smv-" + (name if fits else sha256(name.encode()).hexdigest()[:8])


def _table(interface: str) -> str:
    return _TABLE_PREFIX + interface.removeprefix("smv-")


@contextlib.contextmanager
def inside(namespace_fd: int | None = None) -> Iterator[None]:
    """Be in that network namespace (None: a new one) for a while. For single-threaded processes."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if namespace_fd is None:
            unshare(CLONE_NEWNET)
        else:
            setns(namespace_fd, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def write_setting(path: str, value: str) -> None:
    """Set a sysctl of the network namespace that we are in; one that is not there is off."""
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/sys/net", path).write_text(value)


class Router:
    """See the module. Raises `OSError` from `__init__` where it cannot be had."""

    egress_reason: str
    """Why nothing gets out, empty if it does."""

    def __init__(
        self, name: str, ranges: Sequence[IPv4Network], nameservers: Sequence[IPv4Address]
    ) -> None:
        self._interface = host_interface(name)
        self._host = Netlink(netlink.ROUTE)
        self._filter = Filter()
        self._has_ipv6 = Path("/proc/net/if_inet6").exists()
        self._inner: Netlink | None = None
        self.fd = -1
        try:
            with _host_lock():
                self._open(ranges, nameservers)
        except OSError:
            self.close()
            raise

    def _open(self, ranges: Sequence[IPv4Network], nameservers: Sequence[IPv4Address]) -> None:
        with contextlib.suppress(OSError):  # of an earlier life that has just ended
            self._host.do(netlink.delete_link(self._interface))
        self._remove_orphans()
        uplink = self._uplink()
        self.mtu = uplink.mtu if uplink else 1500
        self.block = self._free_block(ranges)
        # Packets for a resolver at a denied address (some clouds') are the exception.
        resolvers = [ns for ns in nameservers if any(ns in network for network in DENIED)]
        self._make_router(resolvers)
        self._connect_host(resolvers)
        if uplink is None:
            self.egress_reason = "the host has no default route"
            return
        try:
            self._forward(uplink.name)
        except OSError as error:
            self.egress_reason = f"forwarding is off and cannot be switched on: {error.strerror}"
            return
        self.egress_reason = "" if self._probe() else (
            "a firewall of the host drops forwarded packets: let it accept what comes in by "
            f"{self._interface} and the answers"
        )  # fmt: skip

    def _uplink(self) -> netlink.Link | None:
        try:
            route = netlink.parse_route(self._host.ask(netlink.find_route(ANYWHERE)))
            return netlink.parse_link(self._host.ask(netlink.get_link(index=route.index)))
        except OSError:
            return None

    def _free_block(self, ranges: Sequence[IPv4Network]) -> IPv4Network:
        routes = map(netlink.parse_route, self._host.ask_for_all(netlink.list_routes()))
        taken = [IPv4Network((r.destination, r.prefix)) for r in routes if r.prefix]
        for wide in ranges:
            for block in wide.subnets(new_prefix=max(BLOCK_PREFIX, wide.prefixlen)):
                if not any(block.overlaps(network) for network in taken):
                    return block
        raise OSError(errno.EADDRNOTAVAIL, "every range for instances overlaps a route of the host")

    def _make_router(self, resolvers: Sequence[IPv4Address]) -> None:
        block = self.block
        from_outside = nftables.comes_in_by("up")
        forward = [from_outside + nftables.answers_a_connection() + ACCEPT, from_outside + DROP]
        forward.append(
            nftables.begins_a_connection()
            + nftables.has_too_many_connections(MAX_CONNECTIONS)
            + REJECT
        )
        forward += [*_to_resolvers(resolvers, ACCEPT)]
        forward += [nftables.goes_to(network) + REJECT for network in (*DENIED, block)]
        forward.append(nftables.goes_out_by("up") + nftables.comes_from(block) + ACCEPT)
        chains = {
            "input": Chain(nftables.INPUT, nftables.BEFORE_FILTER, [], policy_drop=True),
            "forward": Chain(
                nftables.FORWARD, nftables.BEFORE_FILTER, forward, policy_drop=True
            ),
        }  # fmt: skip
        with inside():
            self.fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self._inner = Netlink(netlink.ROUTE)
            write_setting("ipv6/conf/default/disable_ipv6", "1")
            write_setting("ipv4/conf/all/rp_filter", "1")
            write_setting("ipv4/conf/default/rp_filter", "1")
            write_setting("ipv4/ip_forward", "1")
            router_filter = Filter()
            router_filter.put("router", chains)
            router_filter.close()

    def _connect_host(self, resolvers: Sequence[IPv4Address]) -> None:
        interface, block = self._interface, self.block
        ours = nftables.comes_in_by(interface)
        theirs = nftables.goes_out_by(interface)
        to_resolvers = [*_to_resolvers(resolvers, ACCEPT, ours)]
        forward = [
            ours + nftables.is_ipv4(otherwise=True) + DROP,
            ours + nftables.comes_from(block, otherwise=True) + DROP,
            *to_resolvers,
            *(ours + nftables.goes_to(network) + DROP for network in (*DENIED, block)),
            theirs + nftables.answers_a_connection() + ACCEPT,
            theirs + DROP,
        ]
        source_nat = nftables.comes_from(block)
        source_nat += nftables.goes_out_by(interface, otherwise=True) + MASQUERADE
        probe = nftables.comes_from(IPv4Network(self._address(1))) + COUNT + DROP
        to_us = ours + nftables.goes_to_this_machine() + DROP
        hooks = nftables
        chains = {
            "prerouting": Chain(hooks.PREROUTING, hooks.BEFORE_CONNTRACK, [to_us]),
            "input": Chain(hooks.INPUT, hooks.BEFORE_FILTER, [ours + DROP]),
            "forward": Chain(hooks.FORWARD, hooks.BEFORE_FILTER, forward),
            "probe": Chain(hooks.POSTROUTING, hooks.BEFORE_SOURCE_NAT, [probe]),
            "masquerade": Chain(hooks.POSTROUTING, hooks.SOURCE_NAT, [source_nat]),
        }
        self._put_owned(_table(interface), chains)
        self._host.do(netlink.new_veth(interface, 0, "up", _UP_INDEX, self.fd, self.mtu))
        write_setting(f"ipv6/conf/{interface}/disable_ipv6", "1")
        link = netlink.parse_link(self._host.ask(netlink.get_link(name=interface)))
        self._host.do(
            netlink.new_address(link.index, self._address(0), 31),
            netlink.link_up(link.index),
        )
        assert self._inner is not None
        self._inner.do(
            netlink.new_address(_UP_INDEX, self._address(1), 31),
            netlink.link_up(_UP_INDEX),
            netlink.new_route(IPv4Address(0), 0, self._address(0), _UP_INDEX),
        )
        deadline = time.monotonic() + _PROBE_WAIT_S
        while not link.is_up and time.monotonic() < deadline:
            link = netlink.parse_link(self._host.ask(netlink.get_link(index=link.index)))
            time.sleep(_POLL_S)
        block_address, prefix = block.network_address, block.prefixlen
        self._host.do(netlink.new_route(block_address, prefix, self._address(1), link.index))

    def _put_owned(self, table: str, chains: dict[str, Chain]) -> None:
        both = nftables.OWNED | nftables.PERSISTENT
        for flags in (both, nftables.OWNED, 0):
            try:
                self._filter.put(table, chains, flags)
                return
            except OSError as error:
                if not flags or error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise

    def _forward(self, uplink: str) -> None:
        if _IP_FORWARD.read_text().strip() != "0":
            return
        stranger = nftables.comes_in_by(uplink) + nftables.begins_a_connection()
        rules = [stranger + nftables.keeps_its_destination() + DROP]
        guard = Chain(nftables.FORWARD, nftables.BEFORE_FILTER, rules)
        self._filter.put(_GUARD, {"forward": guard})
        _IP_FORWARD.write_text("1")

    def _probe(self) -> bool:
        """Return whether a packet of ours gets through the host's filters."""
        with inside(self.fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packet:
            packet.sendto(b"", (str(ANYWHERE), 9))
        deadline = time.monotonic() + _PROBE_WAIT_S
        while not self._filter.counted(_table(self._interface), "probe"):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _address(self, offset: int) -> IPv4Address:
        return self.block.network_address + offset

    @property
    def room(self) -> int:
        """How many instances have an address."""
        return self.block.num_addresses // 2 - 1

    def connect(self, there: Netlink, number: int) -> IPv4Address:
        """Connect the namespace of `there` as instance `number` (from 1 to `room`).

        Returns its address. Raises `OSError`, EEXIST while an earlier one has not quite gone."""
        assert self._inner is not None
        gateway, address = self._address(2 * number), self._address(2 * number + 1)
        index = _FIRST_INDEX + number
        pair = netlink.new_veth("eth0", 2, f"i{number}", index, self.fd, self.mtu)
        there.do(
            pair,
            *([netlink.no_ipv6_address(2)] if self._has_ipv6 else []),
            netlink.new_address(2, address, 31),
            netlink.link_up(2),
            netlink.new_route(IPv4Address(0), 0, gateway, 2),
        )
        self._inner.do(netlink.new_address(index, gateway, 31), netlink.link_up(index))
        there.ask(netlink.get_link(index=2))  # that it can send from now on
        return address

    def close(self) -> None:
        """Remove all that is on the host. Never raises."""
        with contextlib.suppress(OSError), _host_lock():
            with contextlib.suppress(OSError):
                self._host.do(netlink.delete_link(self._interface))
            with contextlib.suppress(OSError):
                self._filter.delete(_table(self._interface))
            if _GUARD in self._filter.tables() and not self._others():
                _IP_FORWARD.write_text("0")
                self._filter.delete(_GUARD)
        for connection in (self._inner, self._host, self._filter):
            if connection is not None:
                connection.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _others(self) -> bool:
        """Return whether another platform on this host needs forwarding."""
        return any(self._exists(interface) for interface, _ in self._tables())

    def _remove_orphans(self) -> None:
        """Remove the tables of platforms that were killed and have not come back."""
        for interface, table in self._tables():
            if not self._exists(interface):
                with contextlib.suppress(OSError):
                    self._put_owned(table, {})
                    self._filter.delete(table)

    def _tables(self) -> list[tuple[str, str]]:
        """Every platform's interface and table."""
        tables = [name for name in self._filter.tables() if name.startswith(_TABLE_PREFIX)]
        return [("smv-" + t.removeprefix(_TABLE_PREFIX), t) for t in tables if t != _GUARD]

    def _exists(self, interface: str) -> bool:
        try:
            self._host.ask(netlink.get_link(name=interface))
        except OSError:
            return False
        return True


def _to_resolvers(
    resolvers: Sequence[IPv4Address], verdict: bytes, where: bytes = b""
) -> Iterator[bytes]:
    for resolver in resolvers:
        for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
            port = nftables.goes_to_port(53, protocol)
            yield where + nftables.goes_to(IPv4Network(resolver)) + port + verdict


@contextlib.contextmanager
def _host_lock() -> Iterator[None]:
    """Keep other platforms of this host from opening or closing meanwhile.

    The name of an abstract socket belongs to a network namespace, as all does that is at stake."""
    with socket.socket(socket.AF_UNIX) as lock:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                lock.bind(_LOCK)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
        yield
