"""A function that tries to bring others down with it harms itself alone.

The greedy one runs beside a modest one, which goes on answering; and all that the greedy one took
is given back when it has ended.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from samovar.guest import wire
from tests.contract.sandbox_client import Client, eventually
from tests.security.conftest import Attempts

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]

ALLOCATE = """
while True:
    held = [bytearray(8 << 20) for _ in range(64)]
"""

ALLOCATE_IN_MANY = """
for _ in range(200):
    if os.fork() == 0:
        held = bytearray(20 << 20)
        signal.pause()
answer = "forked"
"""

BOMB = """
while True:
    try:
        os.fork()
    except OSError:
        pass
"""

FILL_TMP = """
def fill():
    for number in range(100_000):
        with open(f"/tmp/{number}", "wb") as file:
            file.write(bytes(1 << 20))
answer = attempt(fill)
"""

MANY_FILES = """
def fill():
    for number in range(5_000_000):
        os.close(os.open(f"/tmp/{number}", os.O_CREAT))
answer = attempt(fill)
"""

FLOOD_PAGE_CACHE = """
def flood():
    read = 0
    for directory, _, names in os.walk("/usr"):
        for name in names:
            try:
                with open(os.path.join(directory, name), "rb") as file:
                    while piece := file.read(1 << 20):
                        read += len(piece)
            except OSError:
                pass
            if read > 300 << 20:
                return read
    return read
answer = flood()
"""

SPIN = """
for _ in range(4 * os.cpu_count()):
    if os.fork() == 0:
        while True:
            pass
answer = "spinning"
"""


async def attack(greedy: Client, script: str) -> Any:
    """What the script comes to; None where its instance ends over it."""
    with contextlib.suppress(EOFError):
        return await greedy.run(script)
    return None


@pytest.mark.parametrize(
    "script",
    [ALLOCATE, ALLOCATE_IN_MANY, FILL_TMP, MANY_FILES],
    ids=["fast", "in many processes", "in files", "in inodes"],
)
async def test_memory_is_taken_from_nobody_else(attempts: Attempts, script: str) -> None:
    sandbox = await attempts.sandbox()
    async with attempts.instance() as modest:
        before_mib = sandbox.memory_bytes() >> 20
        async with attempts.instance() as greedy:
            await attack(greedy, script)
            assert modest.instance.usage().memory_bytes < 64 << 20
            assert await modest.run("answer = len(bytearray(32 << 20))") == 32 << 20
            assert sandbox.memory_bytes() >> 20 < before_mib + 128 + 64
        await eventually(lambda: sandbox.memory_bytes() >> 20, lambda mib: mib < before_mib + 48)


async def test_a_fork_bomb_is_ended_and_nothing_of_it_is_left(attempts: Attempts) -> None:
    async with attempts.instance() as modest:
        async with attempts.instance() as greedy:
            await greedy.send(wire.INVOKE, None, BOMB.encode())
            assert await modest.run("answer = subprocess.run(['/bin/echo']).returncode") == 0
        assert await modest.run("answer = 6 * 7") == 42


async def test_files_that_it_reads_count_for_nobody(attempts: Attempts) -> None:
    async with attempts.instance(memory_mib=256) as greedy, attempts.instance() as modest:
        read_bytes = await attack(greedy, FLOOD_PAGE_CACHE)
        assert read_bytes > 50 << 20
        assert greedy.instance.usage().memory_bytes < 128 << 20
        assert await modest.run("answer = 6 * 7") == 42


async def test_processors_are_not_taken_from_others(attempts: Attempts) -> None:
    async with attempts.instance(memory_mib=256) as greedy, attempts.instance() as modest:
        greedy.instance.settle()
        assert await attack(greedy, SPIN) == "spinning"
        for number in range(20):
            assert await modest.run(f"answer = {number}") == number
        assert greedy.instance.usage().memory_bytes < 256 << 20
