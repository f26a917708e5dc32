"""Instances' networks: what they reach, what they do not, and what is left afterwards.

Each "cannot" has its twin: without the filter in question the same attempt succeeds.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from samovar.sandbox.process import netlink, nftables
from samovar.sandbox.process.netlink import Netlink
from samovar.sandbox.process.network import NetworkPool, reachable_nameservers
from samovar.sandbox.process.nftables import Chain, Filter
from samovar.sandbox.process.router import MAX_CONNECTIONS, inside
from tests.integration.network_world import (
    GATEWAY,
    HOST,
    INTERNET,
    METADATA,
    PATIENCE_S,
    World,
    attach,
    dial,
    namespace,
    open_world,
    unanswered,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]


@pytest.fixture(scope="module", autouse=True)
def a_world_can_be_made() -> None:
    """Root in a container may have to do without namespaces, sysctls or a packet filter."""
    try:
        with open_world():
            Filter().close()
    except OSError as error:
        pytest.skip(f"this machine does not let us simulate a network: {error}")


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as world:
        yield world


@pytest.fixture
def pool(world: World) -> Iterator[NetworkPool]:
    pool = NetworkPool.open("test")
    yield pool
    pool.close()


def without_filters(pool: NetworkPool, *where: str) -> None:
    """Take the filter of the router, of the host, or both away."""
    router = pool._router
    assert router is not None
    if "router" in where:
        with inside(router.fd):
            filters = Filter()
        filters.delete("router")
        filters.close()
    if "host" in where:
        router._filter.delete("samovar_test")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


# ------------------------------------------------------------ the way out


def test_an_instance_reaches_the_internet_as_the_host(world: World, pool: NetworkPool) -> None:
    port = world.serve(INTERNET, at=world.internet_fd)
    assert pool.has_egress, pool.egress_reason
    assert dial(pool.take(), INTERNET, port) == f"hello {HOST}"


def test_an_instance_reaches_itself(world: World, pool: NetworkPool) -> None:
    instance = pool.take()
    port = world.serve("127.0.0.1", at=instance.fd)
    assert dial(instance, "127.0.0.1", port) == "hello 127.0.0.1"


def test_large_transfers_fit_the_uplink(world: World, pool: NetworkPool) -> None:
    port = world.serve(INTERNET, at=world.internet_fd, text="x" * 90_000)
    with inside(pool.take().fd), socket.create_connection((INTERNET, port), timeout=5) as client:
        received = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert len(received) > 90_000


# ------------------------------------------------------------ what cannot be reached


def test_the_hosts_loopback_is_not_the_instances(world: World, pool: NetworkPool) -> None:
    port = world.serve("127.0.0.1")
    assert dial(None, "127.0.0.1", port) == "hello 127.0.0.1"
    assert dial(pool.take(), "127.0.0.1", port) == "ECONNREFUSED"


def test_the_hosts_address_does_not_answer(world: World, pool: NetworkPool) -> None:
    port = world.serve("0.0.0.0")
    instance = pool.take()
    assert unanswered(instance, HOST, port)
    without_filters(pool, "host")
    assert dial(instance, HOST, port).startswith("hello ")


def test_the_hosts_end_of_the_pair_does_not_answer(world: World, pool: NetworkPool) -> None:
    port = world.serve("0.0.0.0")
    assert pool._router is not None
    address = str(pool._router.block.network_address)
    instance = pool.take()
    assert dial(instance, address, port) == "EHOSTUNREACH"
    without_filters(pool, "router")
    assert unanswered(instance, address, port)
    without_filters(pool, "host")
    assert dial(instance, address, port).startswith("hello ")


def test_the_router_itself_does_not_answer(world: World, pool: NetworkPool) -> None:
    assert pool._router is not None
    port = world.serve("0.0.0.0", at=pool._router.fd)
    instance = pool.take()
    assert instance.address is not None
    gateway = str(instance.address - 1)
    assert unanswered(instance, gateway, port)
    without_filters(pool, "router")
    assert dial(instance, gateway, port).startswith("hello ")


def test_instances_do_not_reach_each_other(world: World, pool: NetworkPool) -> None:
    one, other = pool.take(), pool.take()
    port = world.serve("0.0.0.0", at=other.fd)
    assert dial(one, str(other.address), port) == "EHOSTUNREACH"
    without_filters(pool, "router")
    assert dial(one, str(other.address), port) == f"hello {one.address}"


def test_the_clouds_metadata_cannot_be_read(world: World, pool: NetworkPool) -> None:
    port = world.serve(METADATA, at=world.internet_fd)
    instance = pool.take()
    assert dial(instance, METADATA, port) == "EHOSTUNREACH"
    without_filters(pool, "router")
    assert unanswered(instance, METADATA, port)  # the host's filter says the same
    without_filters(pool, "host")
    assert dial(instance, METADATA, port).startswith("hello ")


def test_nothing_outside_can_connect_to_an_instance(world: World, pool: NetworkPool) -> None:
    instance = pool.take()
    port = world.serve("0.0.0.0", at=instance.fd)
    address = str(instance.address)
    assert unanswered(world.internet_fd, address, port)
    assert unanswered(None, address, port)
    without_filters(pool, "router")
    assert unanswered(world.internet_fd, address, port)  # the host's filter says the same
    without_filters(pool, "host")
    assert dial(None, address, port).startswith("hello ")
    pool._router._filter.delete("samovar_forwarding")  # type: ignore[union-attr]
    assert dial(world.internet_fd, address, port).startswith("hello ")


def test_an_instance_cannot_speak_with_anothers_address(world: World, pool: NetworkPool) -> None:
    receiver = world.receiver(INTERNET, world.internet_fd)
    port = receiver.getsockname()[1]
    one, other = pool.take(), pool.take()
    assert one.address and other.address
    send_datagram(one.fd, other.address, port, b"forged")
    send_datagram(one.fd, IPv4Address(HOST), port, b"forged")
    send_datagram(one.fd, one.address, port, b"honest")
    assert receiver.recv(100) == b"honest"
    with pytest.raises(TimeoutError):
        receiver.recv(100)


def send_datagram(namespace_fd: int, source: IPv4Address, port: int, text: bytes) -> None:
    """Send UDP with any source, as only a process with CAP_NET_RAW can."""
    udp = struct.pack("!HHHH", 999, port, 8 + len(text), 0) + text
    destination = socket.inet_aton(INTERNET)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0)
    with inside(namespace_fd), socket.socket(socket.AF_INET, socket.SOCK_RAW, 255) as raw:
        raw.sendto(header + source.packed + destination + udp, (INTERNET, 0))


def test_there_is_no_ipv6_but_the_own_loopback(world: World, pool: NetworkPool) -> None:
    with inside(pool.take().fd):
        lines = Path("/proc/net/if_inet6").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["lo"]


def test_one_instance_cannot_fill_the_table_of_connections(world: World, pool: NetworkPool) -> None:
    port = world.serve(INTERNET, at=world.internet_fd)
    greedy, other = pool.take(), pool.take()
    assert dial(greedy, INTERNET, port) == f"hello {HOST}"
    with inside(greedy.fd), socket.socket(type=socket.SOCK_DGRAM) as many:
        for destination in range(1, MAX_CONNECTIONS + 50):
            many.sendto(b"x", (INTERNET, destination))
    answer = dial(greedy, INTERNET, port, patience_s=PATIENCE_S)
    assert answer in ("EHOSTUNREACH", "silence")  # the kernel limits the rate of such errors
    assert dial(other, INTERNET, port) == f"hello {HOST}"


# ------------------------------------------------------------ the host and others on it


def test_closing_leaves_nothing_behind(world: World) -> None:
    before = world.interfaces(), world.tables(), world.forwards()
    pool = NetworkPool.open("test")
    pool.fill(2)
    during = world.interfaces(), world.tables(), world.forwards()
    assert all(now != then for now, then in zip(during, before, strict=True))
    pool.close()
    assert (world.interfaces(), world.tables(), world.forwards()) == before


LIFE = """
import signal
from samovar.sandbox.process.network import NetworkPool
pool = NetworkPool.open("test")
pool.fill(2)
print(pool.has_egress, flush=True)
signal.pause()
"""


def test_a_killed_life_leaves_nothing_that_the_next_does_not_clear(world: World) -> None:
    with subprocess.Popen([sys.executable, "-c", LIFE], stdout=subprocess.PIPE, text=True) as life:
        assert life.stdout is not None
        assert life.stdout.readline() == "True\n"
        life.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(name.startswith("smv-") for name in world.interfaces()))
    pool = NetworkPool.open("test")
    assert pool.has_egress
    pool.close()
    assert (world.tables(), world.forwards()) == ([], False)


def test_the_tables_of_killed_lives_that_never_return_are_removed(world: World) -> None:
    with subprocess.Popen([sys.executable, "-c", LIFE], stdout=subprocess.PIPE, text=True) as life:
        assert life.stdout is not None
        life.stdout.readline()
        life.kill()
    wait_until(lambda: "smv-test" not in world.interfaces())
    another = NetworkPool.open("another")
    assert world.tables() == ["samovar_another", "samovar_forwarding"]
    another.close()
    assert (world.tables(), world.forwards()) == ([], False)


def test_the_filter_survives_the_reload_of_a_firewall(world: World, pool: NetworkPool) -> None:
    assert "samovar_test" in world.tables()
    stranger = Filter()
    with pytest.raises(PermissionError):
        stranger.delete("samovar_test")
    stranger.close()


def test_two_platforms_share_a_host_and_do_not_meet(world: World, pool: NetworkPool) -> None:
    second = NetworkPool.open("second")
    try:
        assert second.has_egress, second.egress_reason
        theirs = second.take()
        port = world.serve("0.0.0.0", at=theirs.fd)
        assert unanswered(pool.take(), str(theirs.address), port)
        pool.close()
        assert world.forwards()
        out = world.serve(INTERNET, at=world.internet_fd)
        assert dial(theirs, INTERNET, out) == f"hello {HOST}"
    finally:
        second.close()
    assert not world.forwards()


def test_the_host_does_not_become_its_neighbours_router(world: World, pool: NetworkPool) -> None:
    with namespace() as office:
        attach("office", office, "10.12.0.2", "10.12.0.1")
        with inside(office), Netlink(netlink.ROUTE) as connection:
            connection.do(netlink.new_route(IPv4Address(0), 0, IPv4Address("10.12.0.2"), 2))
        with inside(world.internet_fd), Netlink(netlink.ROUTE) as connection:
            way = netlink.new_route(IPv4Address("10.12.0.0"), 30, IPv4Address(HOST), 2)
            connection.do(way)
        port = world.serve("10.12.0.1", at=office)
        assert unanswered(world.internet_fd, "10.12.0.1", port)
        assert pool._router is not None
        pool._router._filter.delete("samovar_forwarding")
        assert dial(world.internet_fd, "10.12.0.1", port) == f"hello {GATEWAY}"


def test_forwarding_that_was_on_before_stays_on(world: World) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    NetworkPool.open("test").close()
    assert world.forwards()


def test_a_firewall_that_drops_forwarded_packets_is_noticed(world: World) -> None:
    filters = Filter()
    filters.put("docker", {"forward": Chain(nftables.FORWARD, 0, [], policy_drop=True)})
    pool = NetworkPool.open("test")
    try:
        assert not pool.has_egress
        assert "firewall" in pool.egress_reason
    finally:
        pool.close()
        filters.close()


def test_without_a_default_route_there_are_networks_without_a_way_out() -> None:
    with open_world(connected=False) as world:
        pool = NetworkPool.open("test")
        try:
            assert (pool.has_egress, pool.egress_reason) == (False, "the host has no default route")
            instance = pool.take()
            port = world.serve("127.0.0.1", at=instance.fd)
            assert dial(instance, "127.0.0.1", port) == "hello 127.0.0.1"
            assert not world.forwards()
        finally:
            pool.close()


def test_without_a_free_range_there_are_networks_with_a_loopback_only(world: World) -> None:
    pool = NetworkPool.open("test", ranges=[IPv4Network("10.11.0.0/24")])
    instance = pool.take()
    port = world.serve("127.0.0.1", at=instance.fd)
    assert dial(instance, "127.0.0.1", port) == "hello 127.0.0.1"
    assert dial(instance, INTERNET, port) == "ENETUNREACH"
    assert "overlaps" in pool.egress_reason
    pool.give_back(instance)
    pool.close()


# ------------------------------------------------------------ the pool


def test_namespaces_are_made_one_at_a_time_ahead_of_need(pool: NetworkPool) -> None:
    assert [pool.fill_one(2) for _ in range(3)] == [True, True, False]
    assert pool.take().address != pool.take().address


def test_an_unused_namespace_is_used_again_and_a_used_one_never(
    world: World, pool: NetworkPool
) -> None:
    unused = pool.take()
    pool.give_back(unused)
    assert pool.take() is unused
    port = world.serve("127.0.0.1", at=unused.fd)
    assert dial(unused, "127.0.0.1", port).startswith("hello")
    pool.give_back(unused)
    assert pool.take() is not unused


def test_addresses_come_round_again(pool: NetworkPool) -> None:
    pool._free.clear()
    pool._free.append(7)
    first = pool.take()
    with pytest.raises(OSError, match="no address is free"):
        pool.take()
    with inside(first.fd), socket.socket(type=socket.SOCK_DGRAM) as used:
        used.sendto(b"x", ("127.0.0.1", 9))
    pool.give_back(first)

    def made_again() -> bool:
        try:
            return pool.take().address == first.address
        except OSError:  # the kernel is still removing the first
            return False

    wait_until(made_again)


# ------------------------------------------------------------ resolvers


def test_a_resolver_on_the_host_itself_is_no_use_to_instances(world: World, tmp_path: Path) -> None:
    stub, upstream = tmp_path / "stub", tmp_path / "upstream"
    stub.write_text("# stub\nnameserver 127.0.0.53\nnameserver ::1\noptions edns0\n")
    upstream.write_text(f"nameserver {HOST}\nnameserver 203.0.113.53\n")
    assert reachable_nameservers([stub]) == []
    assert reachable_nameservers([stub, upstream]) == [IPv4Address("203.0.113.53")]
    assert reachable_nameservers([tmp_path / "none", upstream]) == [IPv4Address("203.0.113.53")]
