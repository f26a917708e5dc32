"""A function that takes too much hurts itself alone."""

from __future__ import annotations

import contextlib
import signal

import pytest

from samovar.model.isolation import Layer
from tests.security.conftest import Attempts

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]

EAT = """
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        block = bytearray(60 << 20)
        os._exit(0)
    children.append(pid)
answer = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
"""
"""240 MiB in all; each of the children alone would fit."""

HOLD = """
block = bytearray(200 << 20)
answer = len(block)
"""


async def test_processes_together_get_no_more_memory_than_the_function_has(
    attempts: Attempts,
) -> None:
    script = EAT.replace("os._exit(0)", "time.sleep(1); os._exit(0)").replace(
        "children = []", "import time; children = []"
    )
    try:
        statuses = await attempts.inside(script)
    except EOFError:
        statuses = [-signal.SIGKILL]  # the kernel chose the first process
    assert -signal.SIGKILL in statuses
    without = frozenset({Layer.MEMORY})
    assert await attempts.without(without, script) == [0, 0, 0, 0]


async def test_out_of_memory_ends_the_instance_and_is_told(attempts: Attempts) -> None:
    async with attempts.instance() as greedy, attempts.instance() as other:
        with pytest.raises(EOFError):
            await greedy.run(HOLD)
        how = await greedy.exit()
        assert (how.signal, how.out_of_memory) == (signal.SIGKILL, True)
        assert await other.run("answer = 6 * 7") == 42
    without = frozenset({Layer.MEMORY})
    assert await attempts.without(without, HOLD, memory_mib=512) == 200 << 20


SPAWN = """
threading.stack_size(65536)
enough = threading.Event()
count = 0
try:
    while count < 1200:
        threading.Thread(target=enough.wait, daemon=True).start()
        count += 1
except RuntimeError:
    pass
enough.set()
answer = count
"""


async def test_threads_are_limited(attempts: Attempts) -> None:
    assert 100 < await attempts.inside(SPAWN, memory_mib=512) < 1024
    both = frozenset({Layer.PIDS, Layer.USER})  # RLIMIT_NPROC needs a user of its own
    assert await attempts.without(both, SPAWN, memory_mib=512) == 1200


BOMB = """
answer = 0
while answer < 3000:
    try:
        if os.fork() == 0:
            signal.pause()
        answer += 1
    except BlockingIOError:
        break
"""


async def test_a_fork_bomb_stays_in_its_instance(attempts: Attempts) -> None:
    async with attempts.instance(memory_mib=1024) as bomb, attempts.instance() as other:
        assert await bomb.run(BOMB) < 1024
        assert await other.run("answer = subprocess.run(['/bin/echo']).returncode") == 0


HOARD = """
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
listener.bind(("127.0.0.1", 0)); listener.listen()
held, total = [], 0
while total < 160 << 20 and len(held) < 64:
    sender = socket.create_connection(listener.getsockname())
    held.append((sender, listener.accept()[0]))
    sender.setblocking(False)
    try:
        while True: total += sender.send(bytes(65536))
    except BlockingIOError:
        pass
answer = total
"""
"""What has been sent and not been read is in the kernel's memory."""


async def test_what_sockets_hold_is_limited(attempts: Attempts) -> None:
    with contextlib.suppress(EOFError):  # where it counts as memory
        assert await attempts.inside(HOARD) < 128 << 20
    assert await attempts.without(frozenset({Layer.MEMORY}), HOARD) >= 160 << 20


async def test_a_crash_starts_no_program_of_the_host(attempts: Attempts) -> None:
    """A kernel that is told to hand dumps to a program does so unless the limit is exactly 1."""
    script = """
import resource
core = resource.RLIMIT_CORE
resource.setrlimit(core, (0, 0))
libc.setrlimit(core, bytes(16))
call(302, 0, core, bytes(16), 0)
answer = resource.getrlimit(core)
"""
    assert await attempts.inside(script) == [1, 1]
    assert await attempts.without(frozenset({Layer.SECCOMP}), script) == [0, 0]
