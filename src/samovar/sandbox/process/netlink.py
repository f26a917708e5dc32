"""Netlink: the kernel's interface for interfaces, addresses, routes and packet filters.

How this works. A message is a header (length, type, flags, sequence), a fixed part that depends on
the type, and attributes: length, type, value, padded to 4 (netlink(7), rtnetlink(7),
Documentation/userspace-api/netlink/intro.rst). Several messages go to the kernel in one write; it
works them off before the write returns, and each is answered by a number: 0 or minus an errno. So
there is nothing to wait for. A socket stays in the network namespace that it was opened in,
wherever its owner goes.

By hand rather than with a library: docs/design/0004-netlink-by-hand.md has the measurements.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

ROUTE, NETFILTER = 0, 12
_REQUEST, _ACK, _DUMP = 0x001, 0x004, 0x300
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_NESTED = 0x8000
_SOL_NETLINK, _CAP_ACK = 270, 10

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, linux/veth.h
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _NEWROUTE, _GETROUTE = 20, 24, 26
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_STATS64, _IFLA_NET_NS_FD = 3, 4, 18, 23, 28
_IFLA_OPERSTATE, _OPERSTATE_UP = 16, b"\6"
_IFLA_AF_SPEC, _IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 26, 31, 32
_IFLA_INET6_ADDR_GEN_MODE, _ADDR_GEN_MODE_NONE = 8, 1
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_IFF_UP = 1
_TABLE_MAIN, _PROTOCOL_STATIC, _TYPE_UNICAST = 254, 4, 1
TYPE_LOCAL = 2
"""The type of a route to one of the machine's own addresses (RTN_LOCAL)."""


class Message(NamedTuple):
    """One request, but for its sequence number."""

    kind: int
    flags: int
    body: bytes


class Netlink:
    """A socket to the kernel, in the network namespace of its birth."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.bind((0, 0))

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def do(self, *messages: Message) -> None:
        """Have the kernel work off `messages`; raises `OSError` of the first that it refuses."""
        self._send(messages, _REQUEST | _ACK)
        self._answers()

    def do_atomically(self, begin: Message, messages: Sequence[Message], end: Message) -> None:
        """As `do`, for nftables: all or nothing, between two markers that have no answer."""
        parts = [*(Message(m.kind, m.flags | _ACK, m.body) for m in messages)]
        self._send([begin, *parts, end], _REQUEST)
        self._answers()

    def ask(self, message: Message) -> bytes:
        """Return the body of the one answer. Raises `OSError`."""
        self._send([message], _REQUEST)
        return self._answers()[0]

    def ask_for_all(self, message: Message) -> list[bytes]:
        """Return the bodies of all that there is. Raises `OSError`."""
        self._send([message], _REQUEST | _DUMP)
        found: list[bytes] = []
        while True:
            for kind, body in _split(self._socket.recv(1 << 17)):
                if kind in (_DONE, _ERROR):
                    _check(body)
                    return found
                found.append(body)

    def _send(self, messages: Sequence[Message], flags: int) -> None:
        out = bytearray()
        for sequence, (kind, more, body) in enumerate(messages, 1):
            out += _HEADER.pack(_HEADER.size + len(body), kind, flags | more, sequence, 0)
            out += body
        self._socket.send(out)

    def _answers(self) -> list[bytes]:
        """Read all that the kernel has answered already."""
        bodies, errors = [], []
        while True:
            try:
                data = self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            for kind, body in _split(data):
                if kind == _ERROR:
                    errors.append(body)
                else:
                    bodies.append(body)
        for body in errors:
            _check(body)
        return bodies


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _check(body: bytes) -> None:
    code = -struct.unpack_from("=i", body)[0]
    if code:
        raise OSError(code, os.strerror(code))


# ------------------------------------------------------------ attributes


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that is made of attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """Return a string attribute."""
    return attribute(kind, value.encode() + b"\0")


def number(kind: int, value: int) -> bytes:
    """Return a 32-bit attribute in the machine's byte order."""
    return attribute(kind, struct.pack("=I", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """Take attributes apart; of several of one type the last wins."""
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


# ------------------------------------------------------------ interfaces


def _interface(index: int, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


def new_veth(
    name: str, index: int, peer_name: str, peer_index: int, peer_ns_fd: int, mtu: int
) -> Message:
    """A pair of connected interfaces: one here, its peer in another namespace.

    Indexes are ours to choose, so nobody needs to ask for them; 0 leaves it to the kernel."""
    # A queue for each core is the default; it makes the pair dearer, not faster for one process.
    size = number(_IFLA_MTU, mtu) + number(_IFLA_NUM_TX_QUEUES, 1) + number(_IFLA_NUM_RX_QUEUES, 1)
    peer = nest(
        _VETH_INFO_PEER,
        # not an attribute but the fixed part of a message, as veth.h has it
        _interface(peer_index) + text(_IFLA_IFNAME, peer_name),
        number(_IFLA_NET_NS_FD, peer_ns_fd),
        size,
    )
    kind = nest(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "veth"), nest(_IFLA_INFO_DATA, peer))
    body = _interface(index) + text(_IFLA_IFNAME, name) + size + kind
    return Message(_NEWLINK, CREATE | EXCLUSIVE, body)


def link_up(index: int) -> Message:
    """Switch an interface on."""
    return Message(_NEWLINK, 0, _interface(index, _IFF_UP, _IFF_UP))


def no_ipv6_address(index: int) -> Message:
    """Have an interface that is off get no IPv6 address when it is switched on."""
    mode = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_MODE_NONE]))
    family = nest(_IFLA_AF_SPEC, nest(socket.AF_INET6, mode))
    return Message(_NEWLINK, 0, _interface(index) + family)


def delete_link(name: str) -> Message:
    """Remove an interface (and, of a veth, its peer)."""
    return Message(_DELLINK, 0, _interface(0) + text(_IFLA_IFNAME, name))


def get_link(*, name: str = "", index: int = 0) -> Message:
    """Ask for an interface by name or by index.

    The end of a pair that is switched on first can send only when the kernel's link watch has seen
    the second; before, packets are lost. Since Linux 6.8, asking has the watch look at once
    (net/core/rtnetlink.c, rtnl_getlink); earlier, it takes up to a second."""
    return Message(_GETLINK, 0, _interface(index) + (text(_IFLA_IFNAME, name) if name else b""))


@dataclass(frozen=True, slots=True)
class Link:
    """What the kernel says of an interface."""

    index: int
    name: str
    mtu: int
    packets: int
    """Received and sent since its beginning."""
    is_up: bool
    """It can send now, which is later than that it was switched on: see `get_link`."""


def parse_link(body: bytes) -> Link:
    """Understand the answer to `get_link`."""
    index = struct.unpack_from("=i", body, 4)[0]
    found = attributes(body[16:])
    packets = sum(struct.unpack_from("=QQ", found[_IFLA_STATS64]))
    mtu = struct.unpack("=I", found[_IFLA_MTU])[0]
    name = found[_IFLA_IFNAME].rstrip(b"\0").decode()
    return Link(index, name, mtu, packets, found[_IFLA_OPERSTATE] == _OPERSTATE_UP)


# ------------------------------------------------------------ addresses and routes


def new_address(index: int, address: IPv4Address, prefix: int) -> Message:
    """Give an interface an address."""
    fixed = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, index)
    value = address.packed
    body = fixed + attribute(_IFA_LOCAL, value) + attribute(_IFA_ADDRESS, value)
    return Message(_NEWADDR, CREATE | EXCLUSIVE, body)


def new_route(destination: IPv4Address, prefix: int, gateway: IPv4Address, index: int) -> Message:
    """Add a route; EEXIST where there is one for exactly that destination."""
    fixed = struct.pack(
        "=BBBBBBBBI", socket.AF_INET, prefix, 0, 0,
        _TABLE_MAIN, _PROTOCOL_STATIC, 0, _TYPE_UNICAST, 0,
    )  # fmt: skip
    body = fixed + attribute(_RTA_GATEWAY, gateway.packed) + number(_RTA_OIF, index)
    if prefix:
        body += attribute(_RTA_DST, destination.packed)
    return Message(_NEWROUTE, CREATE | EXCLUSIVE, body)


def list_routes() -> Message:
    """Ask for all IPv4 routes, those to the machine's own addresses included."""
    return Message(_GETROUTE, 0, struct.pack("=BBBBBBBBI", socket.AF_INET, *[0] * 8))


def find_route(destination: IPv4Address) -> Message:
    """Ask which way a packet would go; ENETUNREACH where there is none."""
    fixed = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, *[0] * 7)
    return Message(_GETROUTE, 0, fixed + attribute(_RTA_DST, destination.packed))


@dataclass(frozen=True, slots=True)
class Route:
    """What the kernel says of a route."""

    destination: IPv4Address
    prefix: int
    kind: int
    """RTN_*: see `TYPE_LOCAL`."""
    index: int
    """Of the interface that it leads to; 0 if it has several, or none."""


def parse_route(body: bytes) -> Route:
    """Understand an answer to `list_routes` or `find_route`."""
    prefix, kind = body[1], body[7]
    found = attributes(body[12:])
    index = struct.unpack("=I", found.get(_RTA_OIF, b"\0" * 4))[0]
    return Route(IPv4Address(found.get(_RTA_DST, b"\0" * 4)), prefix, kind, index)
