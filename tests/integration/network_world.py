"""A host of our own in a network namespace, with an internet behind it: no packet leaves.

    host: lo, uplink 10.11.0.2/30 ── veth ── 10.11.0.1/30 :internet, which is 203.0.113.7, too,
                                                          and, as a cloud would, 169.254.169.254

The internet knows the way to instances' addresses, so that what stops its packets is a filter.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from samovar.sandbox.process import netlink
from samovar.sandbox.process.netlink import Netlink
from samovar.sandbox.process.network import NetworkNamespace
from samovar.sandbox.process.nftables import Filter
from samovar.sandbox.process.router import RANGES, inside, write_setting

HOST, GATEWAY = "10.11.0.2", "10.11.0.1"
INTERNET, METADATA = "203.0.113.7", "169.254.169.254"
PATIENCE_S = 0.4
"""How long we wait for an answer that should not come."""


class World:
    """See the module. The test itself runs on the host."""

    def __init__(self, internet_fd: int, resources: contextlib.ExitStack) -> None:
        self.internet_fd = internet_fd
        self._resources = resources

    def serve(self, address: str, *, at: int | None = None, text: str = "hello") -> int:
        """Serve `text` and the client's address on a port of a namespace (None: the host)."""
        with inside(at) if at is not None else contextlib.nullcontext():
            listener = socket.socket()
            listener.bind((address, 0))
            listener.listen()
        self._resources.callback(listener.close)
        self._resources.callback(_wake, listener)
        threading.Thread(target=_answer_all, args=(listener, text), daemon=True).start()
        return int(listener.getsockname()[1])

    def receiver(self, address: str, at: int) -> socket.socket:
        """Return a UDP socket in a namespace."""
        with inside(at):
            receiver = self._resources.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            receiver.bind((address, 0))
        receiver.settimeout(PATIENCE_S)
        return receiver

    def tables(self) -> list[str]:
        filters = Filter()
        try:
            return sorted(filters.tables())
        finally:
            filters.close()

    def interfaces(self) -> set[str]:
        return {name for _, name in socket.if_nameindex()}

    def forwards(self) -> bool:
        return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"


def _wake(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


def _answer_all(listener: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, address = listener.accept()
            with client:
                client.sendall(f"{text} {address[0]}".encode())


def unanswered(namespace: NetworkNamespace | int | None, address: str, port: int) -> bool:
    """Return whether nobody answers at all."""
    return dial(namespace, address, port, PATIENCE_S) == "silence"


def dial(
    namespace: NetworkNamespace | int | None, address: str, port: int, patience_s: float = 5
) -> str:
    """Connect from a namespace; return what the server says, or the name of the error."""
    fd = namespace.fd if isinstance(namespace, NetworkNamespace) else namespace
    with inside(fd) if fd is not None else contextlib.nullcontext():
        try:
            with socket.create_connection((address, port), timeout=patience_s) as connection:
                return connection.recv(100).decode()
        except TimeoutError:
            return "silence"
        except OSError as error:
            return errno.errorcode[error.errno or 0]


def interface(name: str) -> int:
    with Netlink(netlink.ROUTE) as connection:
        return netlink.parse_link(connection.ask(netlink.get_link(name=name))).index


def attach(name: str, other_fd: int, here: str, there: str) -> None:
    """Connect this namespace with another: a /30, interface `name` here and `eth0` there."""
    with Netlink(netlink.ROUTE) as connection:
        connection.do(netlink.new_veth(name, 0, "eth0", 2, other_fd, 1400))
        index = interface(name)
        connection.do(netlink.new_address(index, IPv4Address(here), 30), netlink.link_up(index))
    with inside(other_fd), Netlink(netlink.ROUTE) as connection:
        connection.do(netlink.new_address(2, IPv4Address(there), 30), netlink.link_up(2))
    interface(name)  # asking makes it ready to send, see netlink.get_link


@contextlib.contextmanager
def namespace() -> Iterator[int]:
    """A network namespace with lo up."""
    with inside(), Netlink(netlink.ROUTE) as connection:
        connection.do(netlink.link_up(1))
        # A new namespace has the settings of the real host, where a platform may be running.
        write_setting("ipv4/ip_forward", "0")
        fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def open_world(*, connected: bool = True) -> Iterator[World]:
    """Put the calling thread on the simulated host."""
    with contextlib.ExitStack() as resources:
        host = resources.enter_context(namespace())
        internet = resources.enter_context(namespace())
        resources.enter_context(inside(host))
        if connected:
            attach("uplink", internet, HOST, GATEWAY)
            with Netlink(netlink.ROUTE) as connection:
                anywhere, gateway = IPv4Address(0), IPv4Address(GATEWAY)
                connection.do(netlink.new_route(anywhere, 0, gateway, interface("uplink")))
            with inside(internet), Netlink(netlink.ROUTE) as connection:
                for address in (INTERNET, METADATA):
                    connection.do(netlink.new_address(1, IPv4Address(address), 32))
                for network in RANGES:
                    connection.do(_way_to(network))
        yield World(internet, resources)


def _way_to(network: IPv4Network) -> netlink.Message:
    return netlink.new_route(network.network_address, network.prefixlen, IPv4Address(HOST), 2)
