"""The kernel's packet filter: tables, chains and rules, as netlink messages.

How this works. A *table* holds *chains*; a chain hangs on a hook (a place on a packet's way) with
a priority (lower is earlier); a *rule* is a list of expressions, worked off until one does not
match: load something into register 1, compare it, and at the end a verdict (nft(8),
include/uapi/linux/netfilter/nf_tables.h; Documentation/networking/nf_conntrack-sysctl.rst for the
states). `drop` is final; `accept` ends this chain only, so another table may still drop.

Each function below returns one expression, or several in a row, as bytes: a rule is their
concatenation. All numbers of nftables are big-endian, except what registers hold.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Network

from samovar.sandbox.process.netlink import (
    APPEND,
    CREATE,
    NETFILTER,
    Message,
    Netlink,
    attribute,
    attributes,
    nest,
    text,
)

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
BEFORE_CONNTRACK, BEFORE_FILTER, BEFORE_SOURCE_NAT, SOURCE_NAT = -300, -10, 90, 100

OWNED, PERSISTENT = 2, 4
"""A table that only our socket may change, not even `nft flush ruleset`, and that goes with it
(5.12); and one that stays, then free to be adopted (6.9)."""

_SOURCES = "sources"
"""The set in which `has_too_many_connections` counts."""

_SUBSYSTEM = 10 << 8
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _GETRULE = 0, 1, 2, 3, 6, 7
_NEWSET = 9
_FAMILY_INET = 1

_EQUAL, _NOT_EQUAL = 0, 1
_META_NFPROTO, _META_L4PROTO, _META_IIFNAME, _META_OIFNAME = 15, 16, 6, 7
_CT_STATE, _CT_STATUS = 0, 2
_ESTABLISHED_OR_RELATED, _NEW = 2 | 4, 8
_DESTINATION_NAT = 1 << 5
_FIB_ADDRTYPE, _FIB_BY_DESTINATION = 3, 2
_IP_SOURCE, _IP_DESTINATION = 12, 16


def _be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!i", value))


def _expression(name: str, *parts: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *parts))


def _compare(value: bytes, operator: int = _EQUAL) -> bytes:
    return _expression("cmp", _be32(1, 1), _be32(2, operator), nest(3, attribute(1, value)))


def _mask(mask: bytes) -> bytes:
    """Register 1 &= mask."""
    zero = attribute(1, bytes(len(mask)))
    parts = _be32(1, 1), _be32(2, 1), _be32(3, len(mask)), nest(4, attribute(1, mask))
    return _expression("bitwise", *parts, nest(5, zero))


def _meta(key: int) -> bytes:
    return _expression("meta", _be32(1, 1), _be32(2, key))


def _load(base: int, offset: int, length: int) -> bytes:
    """Bytes of the packet; base 1 is the network header, 2 the transport header."""
    return _expression("payload", _be32(1, 1), _be32(2, base), _be32(3, offset), _be32(4, length))


def _bare(expression: bytes) -> tuple[bytes, ...]:
    """The parts of an expression, without the wrapping that makes it an item of a list."""
    return (expression[4:],)


def _name(value: str) -> bytes:
    return value.encode().ljust(16, b"\0")


def comes_in_by(interface: str) -> bytes:
    """The packet comes in by an interface of that name."""
    return _meta(_META_IIFNAME) + _compare(_name(interface))


def goes_out_by(interface: str, *, otherwise: bool = False) -> bytes:
    """It is to go out by that interface (or by any other)."""
    return _meta(_META_OIFNAME) + _compare(_name(interface), int(otherwise))


def is_ipv4(*, otherwise: bool = False) -> bytes:
    """It is IPv4 (or it is not)."""
    return _meta(_META_NFPROTO) + _compare(bytes([socket.AF_INET]), int(otherwise))


def _in_network(offset: int, network: IPv4Network, operator: int) -> bytes:
    load = _load(1, offset, 4) + _mask(network.netmask.packed)
    return is_ipv4() + load + _compare(network.network_address.packed, operator)


def comes_from(network: IPv4Network, *, otherwise: bool = False) -> bytes:
    """Its IPv4 source is in `network` (or it is IPv4 and its source is not)."""
    return _in_network(_IP_SOURCE, network, int(otherwise))


def goes_to(network: IPv4Network) -> bytes:
    """Its IPv4 destination is in `network`."""
    return _in_network(_IP_DESTINATION, network, _EQUAL)


def goes_to_port(port: int, protocol: int) -> bytes:
    """It is of that transport protocol (TCP, UDP), for that port."""
    transport = _meta(_META_L4PROTO) + _compare(bytes([protocol]))
    return transport + _load(2, 2, 2) + _compare(struct.pack("!H", port))


def goes_to_this_machine() -> bytes:
    """Its destination is an address of this machine, whichever interface has it."""
    fib = _expression("fib", _be32(1, 1), _be32(2, _FIB_ADDRTYPE), _be32(3, _FIB_BY_DESTINATION))
    return fib + _compare(struct.pack("=I", 2))  # RTN_LOCAL


def answers_a_connection() -> bytes:
    """It belongs to a connection that exists, or is an error about one."""
    return _has_bits(_CT_STATE, _ESTABLISHED_OR_RELATED, _NOT_EQUAL)


def begins_a_connection() -> bytes:
    """It is the first of a connection."""
    return _has_bits(_CT_STATE, _NEW, _NOT_EQUAL)


def keeps_its_destination() -> bytes:
    """Its destination is not translated (as that of a container's published port is)."""
    return _has_bits(_CT_STATUS, _DESTINATION_NAT, _EQUAL)


def has_too_many_connections(limit: int) -> bytes:
    """Its IPv4 source has more than `limit` connections already. Once in a chain only."""
    count = _expression("connlimit", _be32(1, limit), _be32(2, 1))
    key = _load(1, _IP_SOURCE, 4)
    return (
        is_ipv4()
        + key
        + _expression(
            "dynset",
            text(1, _SOURCES),
            _be32(2, 1),
            _be32(3, 0),
            _be32(4, 1),
            nest(7, *_bare(count)),
        )
    )


def _has_bits(key: int, bits: int, operator: int) -> bytes:
    load = _expression("ct", _be32(1, 1), _be32(2, key))
    return load + _mask(struct.pack("=I", bits)) + _compare(bytes(4), operator)


def _verdict(code: int) -> bytes:
    return _expression("immediate", _be32(1, 0), nest(2, nest(2, _be32(1, code))))


DROP = _verdict(0)
ACCEPT = _verdict(1)
REJECT = _expression("reject", _be32(1, 2), attribute(2, bytes([3])))
"""Refuse with ICMP "administratively prohibited": the sender learns at once."""
MASQUERADE = _expression("masq")
COUNT = _expression("counter")


class Chain:
    """A chain on a hook, with its rules in order."""

    def __init__(
        self, hook: int, priority: int, rules: Sequence[bytes], *, policy_drop: bool = False
    ) -> None:
        self.hook = hook
        self.priority = priority
        self.rules = rules
        self.policy_drop = policy_drop


def _fixed(family: int = _FAMILY_INET, resource: int = 0) -> bytes:
    return struct.pack("!BBH", family, 0, resource)


class Filter:
    """A socket to nftables, in the network namespace of its birth."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)

    def close(self) -> None:
        """Also ends what tables it owns, unless they are persistent."""
        self._netlink.close()

    def tables(self) -> list[str]:
        """Names of all (inet) tables. Raises `OSError`."""
        bodies = self._netlink.ask_for_all(Message(_SUBSYSTEM | _GETTABLE, 0, _fixed()))
        return [attributes(body[4:])[1].rstrip(b"\0").decode() for body in bodies]

    def put(self, table: str, chains: dict[str, Chain], flags: int = 0) -> None:
        """Make a table in one step, in place of one of that name. Raises `OSError`."""
        fixed = _fixed()
        new = Message(_SUBSYSTEM | _NEWTABLE, CREATE, fixed + text(1, table) + _be32(2, flags))
        delete = Message(_SUBSYSTEM | _DELTABLE, 0, fixed + text(1, table))
        messages = [new, delete, new]
        if any(_SOURCES.encode() in rule for chain in chains.values() for rule in chain.rules):
            messages.append(self._new_set(table))
        for name, chain in chains.items():
            messages.append(self._new_chain(table, name, chain))
            messages += [self._new_rule(table, name, rule) for rule in chain.rules]
        self._commit(messages)

    def delete(self, table: str) -> None:
        """Remove a table; none of that name is no error. Raises `OSError`."""
        delete = Message(_SUBSYSTEM | _DELTABLE, 0, _fixed() + text(1, table))
        with contextlib.suppress(FileNotFoundError):
            self._commit([delete])

    def counted(self, table: str, chain: str) -> int:
        """How many packets the counters in a chain have seen. Raises `OSError`."""
        message = Message(_SUBSYSTEM | _GETRULE, 0, _fixed() + text(1, table) + text(2, chain))
        packets = 0
        for body in self._netlink.ask_for_all(message):
            expressions = attributes(body[4:])[4]
            at = 0
            while at + 4 <= len(expressions):
                length = struct.unpack_from("=H", expressions, at)[0]
                parts = attributes(expressions[at + 4 : at + length])
                if parts.get(1) == b"counter\0":
                    packets += struct.unpack("!Q", attributes(parts[2])[2])[0]
                at += (length + 3) & ~3
        return packets

    def _new_chain(self, table: str, name: str, chain: Chain) -> Message:
        kind = "nat" if MASQUERADE in b"".join(chain.rules) else "filter"
        hook = nest(4, _be32(1, chain.hook), _be32(2, chain.priority))
        policy = _be32(5, 0 if chain.policy_drop else 1)
        body = _fixed() + text(1, table) + text(3, name) + hook + policy + text(7, kind)
        return Message(_SUBSYSTEM | _NEWCHAIN, CREATE, body)

    def _new_rule(self, table: str, chain: str, rule: bytes) -> Message:
        body = _fixed() + text(1, table) + text(2, chain) + nest(4, rule)
        return Message(_SUBSYSTEM | _NEWRULE, CREATE | APPEND, body)

    def _new_set(self, table: str) -> Message:
        address_type, address_bytes, changed_by_rules, room = 7, 4, 0x20, 65535
        key = _be32(4, address_type) + _be32(5, address_bytes)
        body = text(1, table) + text(2, _SOURCES) + _be32(3, changed_by_rules) + key
        size = nest(9, _be32(1, room))
        return Message(_SUBSYSTEM | _NEWSET, CREATE, _fixed() + body + size + _be32(10, 1))

    def _commit(self, messages: Sequence[Message]) -> None:
        marker = _fixed(socket.AF_UNSPEC, 10)
        begin, end = Message(_BATCH_BEGIN, 0, marker), Message(_BATCH_END, 0, marker)
        self._netlink.do_atomically(begin, messages, end)
