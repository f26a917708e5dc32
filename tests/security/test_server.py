"""A function against the server itself, and what the server says of its isolation."""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path

import pytest

from samovar.guest import wire
from samovar.model.errors import PlatformError
from samovar.model.isolation import Layer
from tests.contract.sandbox_client import LIMIT_S, Client, opened, spec
from tests.security.conftest import Attempts

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]

SECCOMP = frozenset({Layer.SECCOMP})


async def test_a_function_cannot_keep_the_server_waiting(attempts: Attempts) -> None:
    """Who closes a lingering socket waits: the server, were it sent the last descriptor of one."""
    script = """
linger = (socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 9, 0, 0, 0]))
with socket.socket() as lingering:
    answer = attempt(lingering.setsockopt, *linger)
"""
    assert await attempts.inside(script) == "ENOPROTOOPT"
    assert await attempts.without(SECCOMP, script) == "done"


def kernel_can_refuse_descriptors() -> bool:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            ours.setsockopt(socket.SOL_SOCKET, 83, 0)  # SO_PASSRIGHTS, Linux 6.16
        except OSError as error:
            assert error.errno == errno.ENOPROTOOPT
            return False
    return True


async def test_a_function_cannot_send_the_server_a_descriptor(attempts: Attempts) -> None:
    """Whatever it is, to receive it is to close it, which may be slow."""
    answer = wire.encode(wire.RESPONSE, None, b'"sent"')
    script = f"""
def send():
    with socket.socket(fileno=os.dup(3)) as channel:
        socket.send_fds(channel, [{answer!r}], [0])
answer = attempt(send)
while answer == "done":  # the answer has been sent by itself
    signal.pause()
"""
    refused = kernel_can_refuse_descriptors()
    assert await attempts.inside(script) == ("EPERM" if refused else "sent")


async def test_a_supervisor_that_lacks_a_layer_replaces_none_that_had_it(tmp_path: Path) -> None:
    """There is never less isolation than the server said when it began."""
    async with opened(tmp_path / "data", blanks=0) as sandbox:
        promised = sandbox.isolation
        if Layer.SECCOMP not in promised.layers:
            pytest.skip("this machine has no filter")
        first = await sandbox.start(spec(tmp_path))
        sandbox._disabled = SECCOMP  # as if the machine had changed
        assert sandbox.supervisor_pid
        os.kill(sandbox.supervisor_pid, signal.SIGKILL)
        assert (await Client(first).exit()).code is None
        await first.stop()

        async def refuses() -> bool:
            try:
                instance = await sandbox.start(spec(tmp_path))
            except PlatformError:
                return True
            exit_ = await Client(instance).exit()
            assert exit_.failure
            await instance.stop()
            return False

        for _ in range(int(LIMIT_S)):
            if await refuses():
                break
        else:
            pytest.fail("an instance still starts")
        assert sandbox.isolation == promised
