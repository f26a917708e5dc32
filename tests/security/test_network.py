"""A function and the network: not the host's, not the platform's, not another function's."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import uuid
from collections.abc import Iterator

import pytest

from samovar.model.isolation import Layer
from tests.security.conftest import ROOT, Attempts

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]

NETWORK = frozenset({Layer.NETWORK})
SECCOMP = frozenset({Layer.SECCOMP})

OWN_ADDRESS = """
with socket.socket(type=socket.SOCK_DGRAM) as way_out:
    way_out.connect(("203.0.113.1", 9))  # sends nothing
    answer = way_out.getsockname()[0]
"""


@contextlib.contextmanager
def serving(listener: socket.socket) -> Iterator[None]:
    """Say `tea` to whoever comes."""

    def answer_all() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.sendall(b"tea")

    with listener:
        listener.listen()
        thread = threading.Thread(target=answer_all)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def tcp(address: str) -> socket.socket:
    listener = socket.socket()
    listener.bind((address, 0))
    return listener


async def test_a_function_does_not_reach_the_hosts_loopback(attempts: Attempts) -> None:
    listener = tcp("127.0.0.1")
    script = f"answer = attempt(dial, '127.0.0.1', {listener.getsockname()[1]})"
    with serving(listener):
        assert await attempts.inside(script) == "ECONNREFUSED"
        assert await attempts.without(NETWORK, script) == "tea"


async def test_a_function_does_not_reach_the_host_by_its_address(attempts: Attempts) -> None:
    """So neither the platform's own port, nor any other service of the host."""
    try:
        with socket.socket(type=socket.SOCK_DGRAM) as way_out:
            way_out.connect(("203.0.113.1", 9))
            address = way_out.getsockname()[0]
    except OSError:
        pytest.skip("this machine has no way out")
    listener = tcp("0.0.0.0")
    script = f"answer = attempt(dial, {address!r}, {listener.getsockname()[1]}, 0.5)"
    with serving(listener):
        assert await attempts.inside(script) == "silence"
        assert await attempts.without(NETWORK, script) == "tea"


LISTEN = """
listener = socket.socket(); listener.bind(("0.0.0.0", 0)); listener.listen()
def serve():
    while True: listener.accept()[0].sendall(b"tea")
threading.Thread(target=serve, daemon=True).start()
"""


async def test_a_function_does_not_reach_another(attempts: Attempts) -> None:
    script = LISTEN + OWN_ADDRESS + "answer = [answer, listener.getsockname()[1]]"
    async with attempts.instance() as one, attempts.instance() as other:
        address, port = await one.run(script)
        reached = await other.run(f"answer = attempt(dial, {address!r}, {port})")
        assert reached == "EHOSTUNREACH"
    async with attempts.instance(NETWORK) as one, attempts.instance(NETWORK) as other:
        address, port = await one.run(script)
        assert await other.run(f"answer = attempt(dial, {address!r}, {port})") == "tea"


async def test_a_function_does_not_reach_the_hosts_abstract_sockets(attempts: Attempts) -> None:
    name = f"\0samovar-test-{uuid.uuid4().hex}"
    script = f"""
def dial_unix():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect({name!r})
        return client.recv(100).decode()
answer = attempt(dial_unix)
"""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    with serving(listener):
        assert await attempts.inside(script) == "ECONNREFUSED"
        assert await attempts.without(NETWORK, script) == "EPERM"  # Landlock, the second line
        third = await attempts.without(NETWORK | {Layer.LANDLOCK}, script)
        assert third == "EAFNOSUPPORT"  # the filter, where nothing else is in the way
        assert await attempts.without(NETWORK | {Layer.LANDLOCK} | SECCOMP, script) == "tea"


async def test_a_function_does_not_reach_sockets_in_the_hosts_files(
    attempts: Attempts,
) -> None:
    """A desktop's bus, a container engine: whoever may speak to them is their user."""
    path = f"/tmp/samovar-{uuid.uuid4().hex}"
    script = f"""
def dial_unix(kind):
    with kind() as client:
        client.connect({path!r})
        return client.recv(100).decode()
def half_a_pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]
answer = [attempt(dial_unix, lambda: socket.socket(socket.AF_UNIX)),
          attempt(half_a_pair) if os.path.exists({path!r}) else "ENOENT"]
"""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o777)
    try:
        with serving(listener):
            mounts = frozenset({Layer.MOUNTS})
            assert await attempts.inside(script) == ["ENOENT", "ENOENT"]
            assert await attempts.without(mounts, script) == ["EAFNOSUPPORT", "EPERM"]
            reached = await attempts.without(mounts | SECCOMP, script)
            assert reached[0] == "tea"
    finally:
        os.unlink(path)


async def test_a_function_does_not_reach_the_clouds_metadata(attempts: Attempts) -> None:
    """Refused at once, by the router. (The twin is in test_network_pool.py, where the cloud is
    simulated.)"""
    script = "answer = attempt(dial, '169.254.169.254', 80)"
    assert await attempts.inside(script) == "EHOSTUNREACH"


SOCKETS = {
    "raw": ("socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP", "EPERM"),
    "packet": ("socket.AF_PACKET, socket.SOCK_RAW, 0", "EAFNOSUPPORT"),
}


@pytest.mark.parametrize("kind", SOCKETS)
async def test_a_function_makes_no_packets_of_its_own(attempts: Attempts, kind: str) -> None:
    arguments, refusal = SOCKETS[kind]
    script = f"answer = attempt(lambda: socket.socket({arguments}).close())"
    assert await attempts.inside(script) == refusal
    assert await attempts.without(SECCOMP, script) == "EPERM"  # no capability
    assert await attempts.without(SECCOMP | ROOT, script) == "done"


async def test_a_function_does_not_speak_to_a_hypervisor(attempts: Attempts) -> None:
    script = "answer = attempt(lambda: socket.socket(40, socket.SOCK_STREAM).close())  # vsock"
    assert await attempts.inside(script) == "EAFNOSUPPORT"
    with contextlib.suppress(OSError):
        socket.socket(40, socket.SOCK_STREAM).close()
        assert await attempts.without(SECCOMP, script) == "done"
