"""Whether the other end of a connection is in this instance.

Where instances have no network of their own, their loopback is the whole machine's: any process of
it could take a function's events, or answer them. So the kernel is asked whose the socket at the
other end is: of the instance's own uid, where it has one; else it is looked for among the
descriptors of the instance's own processes. It is never needed in full isolation.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def _namespace(kind: str) -> int:
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return 0


_LISTENS = "0A"
"""A state in /proc/net/tcp."""

# Of the zygote, which imports this outside of any instance.
_HOME = {kind: _namespace(kind) for kind in ("net", "pid")}
_HOME_UID = os.getuid()

# Asking for one socket by its two ends: sock_diag(7), linux/inet_diag.h.
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
_MESSAGE_HEAD = struct.Struct("=IHHII")
_ENDS = struct.Struct("=4s4s12x4s12xIII")
_QUESTION = struct.Struct("=BBBxI")
_ANSWER_UID_AT = _MESSAGE_HEAD.size + 4 + _ENDS.size + 12
_ANY = 0xFFFFFFFF


def has_own(kind: str) -> bool:
    """Whether this instance has a namespace (`net` or `pid`) of its own; False if unknown."""
    here = _namespace(kind)
    return bool(here and _HOME[kind] and here != _HOME[kind])


def _has_own_uid() -> bool:
    return os.getuid() != _HOME_UID


def can_tell() -> bool:
    """Whether `is_ours` has what it needs."""
    if _has_own_uid():
        return True
    try:
        open("/proc/net/tcp", "rb").close()
    except OSError:
        return False
    return True


def is_ours(connection: socket.socket) -> bool:
    """Whether a process of this instance holds the other end of an accepted connection.

    False where that cannot be told: without a /proc, say."""
    try:
        if _has_own_uid():
            return _owner(connection.getpeername(), connection.getsockname()) == os.getuid()
        inode = _inode(connection.getpeername(), connection.getsockname())
        return inode is not None and any(
            _holds(pid, f"socket:[{inode}]") for pid in _our_processes()
        )
    except OSError:
        return False


def _owner(local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """The uid of the TCP socket with these two ends, of which `local` is its own."""
    question = _QUESTION.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, _ANY) + _ends(local, remote)
    length = _MESSAGE_HEAD.size + len(question)
    head = _MESSAGE_HEAD.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.sendto(head + question, (0, 0))
        answer = kernel.recv(4096)
    if _MESSAGE_HEAD.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None  # it has gone
    (uid,) = struct.unpack_from("=I", answer, _ANSWER_UID_AT)
    return int(uid)


def _ends(local: tuple[str, int], remote: tuple[str, int]) -> bytes:
    ports = struct.pack("!HH", local[1], remote[1])
    addresses = [socket.inet_aton(host) for host, _ in (local, remote)]
    return _ENDS.pack(ports, *addresses, 0, _ANY, _ANY)


def serves(port: int) -> bool:
    """Whether a process of this instance listens on a port. False where that cannot be told."""
    inodes = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as lines:
                fields = [line.split() for line in lines]
        except OSError:
            continue
        at = f":{port:04X}"
        inodes += [line[9] for line in fields if line[1].endswith(at) and line[3] == _LISTENS]
    try:
        return bool(inodes) and all(
            any(_holds(pid, f"socket:[{inode}]") for pid in _our_processes()) for inode in inodes
        )
    except OSError:
        return False


def _inode(local: tuple[str, int], remote: tuple[str, int]) -> str | None:
    """Of the socket with these two ends, of which `local` is its own (proc(5), /proc/net/tcp)."""
    wanted = [_hex(local), _hex(remote)]
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if fields[1:3] == wanted:
                return fields[9]
    return None


def _hex(address: tuple[str, int]) -> str:
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def _our_processes() -> Iterator[int]:
    """Those that descend from this one; in a pid namespace of our own, also its orphans."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name, in parentheses, may hold anything.
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
    roots = {os.getpid()} | ({1} if has_own("pid") else set())
    for pid in parents:
        ancestor = pid
        while ancestor in parents and ancestor not in roots:
            ancestor = parents[ancestor]
        if ancestor in roots and pid != os.getpid():
            yield pid


def _holds(pid: int, link: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        numbers = os.listdir(folder)
    except OSError:
        return False
    for number in numbers:
        try:
            if os.readlink(f"{folder}/{number}") == link:
                return True
        except OSError:
            continue
    return False
