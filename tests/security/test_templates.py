"""A hostile function whose init becomes a template, and hostile forks of an honest one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from samovar.model.errors import PlatformError
from samovar.model.isolation import Layer
from tests.contract.sandbox_client import Client, spec
from tests.security.conftest import Attempts
from tests.traces import traces_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]

POWERS = """
status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
answer = [any(int(status[name], 16) for name in names), status["NoNewPrivs"].strip(),
          status["Seccomp"].strip(), os.getuid() == 0]
"""
HAS_AUTOGROUPS = Path("/proc/self/autogroup").exists()
NO_POWERS = [False, "1", "2", False]


@contextlib.asynccontextmanager
async def forks_of(
    attempts: Attempts, init: str, count: int = 1, **fields: Any
) -> AsyncIterator[list[Client]]:
    """Forks of a template that has run the prelude and this."""
    sandbox = await attempts.sandbox()
    if sandbox.snapshots:
        pytest.skip(sandbox.snapshots)
    async with (
        contextlib.AsyncExitStack() as ends,
        attempts.instance(is_template=True, **fields) as template,
    ):
        await template.run(init + "\nanswer = None")
        await template.instance.freeze()
        forks = []
        for _ in range(count):
            fork = await sandbox.start(spec(attempts.code, template=template.instance.id, **fields))
            ends.push_async_callback(fork.stop)
            forks.append(Client(fork))
        yield forks


async def test_a_fork_has_no_powers(attempts: Attempts) -> None:
    async with forks_of(attempts, "") as [fork]:
        assert await fork.run(POWERS) == NO_POWERS
        assert await fork.run("answer = attempt(os.setuid, 0)") == "EPERM"
        assert await fork.run("answer = call(272, 0x10000000)") == "EPERM"  # unshare
        assert await fork.run("answer = call(165, b'x', b'/tmp', b'tmpfs', 0, 0)") == "EPERM"


async def test_forks_do_not_reach_each_other(attempts: Attempts) -> None:
    script = """
answer = [attempt(os.kill, pid, 9) for pid in range(90, 400) if pid != os.getpid()]
answer = sorted(set(answer))
"""
    async with forks_of(attempts, "", 2) as [one, other]:
        assert await one.run(script) == ["ESRCH"]
        seen = await one.run("answer = [p for p in os.listdir('/proc') if p.isdigit()]")
        assert len(seen) == 1
        address = (
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "s.connect(('198.51.100.1', 9)); answer = s.getsockname()[0]"
        )
        assert await one.run(address) != await other.run(address)
        assert await other.run("answer = 1") == 1


async def test_forks_share_neither_files_nor_names_nor_memory(attempts: Attempts) -> None:
    async with forks_of(attempts, "", 2) as [one, other]:
        await one.run("write('/tmp/mine', 'x'); write('/dev/shm/mine', 'x'); answer = None")
        await one.run("s = socket.socket(socket.AF_UNIX); s.bind('\\0tea'); s.listen(); answer = 0")
        assert await one.run("answer = call(29, 4711, 4096, 0o1666)") == 0
        assert await other.run("answer = os.listdir('/tmp') + os.listdir('/dev/shm')") == []
        dial = "c = socket.socket(socket.AF_UNIX); answer = attempt(c.connect, '\\0tea')"
        assert await other.run(dial) == "ECONNREFUSED"
        assert await other.run("answer = call(29, 4711, 0, 0)") == "ENOENT"


async def test_a_template_leaves_no_descriptor_to_its_forks(attempts: Attempts) -> None:
    """One to the template's network would let a fork be in two."""
    init = "kept = [socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]"
    async with forks_of(attempts, init) as [fork]:
        fds = "answer = [fd for fd in range(1024) if attempt(os.fstat, fd) != 'EBADF']"
        assert await fork.run(fds) == [0, 1, 2, 3]


async def test_a_template_cannot_use_what_its_holder_left_in_its_memory(
    attempts: Attempts,
) -> None:
    """It finds the room for the runner, and writes to all of it what would be run as root."""
    init = """
import ctypes
found = []
for line in open("/proc/self/maps"):
    first, past = (int(at, 16) for at in line.split()[0].split("-"))
    if line.split()[1] == "r-xp" and past - first == 4096 and len(line.split()) == 5:
        found.append(first)
assert found
for first in found:
    assert libc.mprotect(ctypes.c_void_p(first), ctypes.c_size_t(4096), 7) == 0
    ctypes.memset(first, 0xCC, 4096)
    ctypes.memset(first + 4096, 0xCC, 15 * 4096)
"""
    async with forks_of(attempts, init) as [fork]:
        assert await fork.run(POWERS) == NO_POWERS


@pytest.mark.parametrize(
    "spoil",
    [
        "libc.munmap(ctypes.c_void_p(first), ctypes.c_size_t(65536))",
        "libc.mmap(ctypes.c_void_p(first), ctypes.c_size_t(65536), 7, 0x31, -1, 0)",  # shared
        "[libc.madvise(ctypes.c_void_p(first + o), ctypes.c_size_t(4096), 18) for o in"
        " range(4096, 65536, 4096)]",  # wiped in forks
        "libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(65536), 10)",  # not in forks
    ],
    ids=["unmapped", "shared", "wiped", "left out"],
)
async def test_what_a_template_does_to_that_memory_is_set_right_or_refused(
    attempts: Attempts, spoil: str
) -> None:
    init = f"""
import ctypes
libc.mmap.restype = ctypes.c_void_p
for line in list(open("/proc/self/maps")):
    first, past = (int(at, 16) for at in line.split()[0].split("-"))
    if line.split()[1] == "r-xp" and past - first == 4096 and len(line.split()) == 5:
        {spoil}
"""
    try:
        async with forks_of(attempts, init) as [fork]:
            assert await fork.run(POWERS) == NO_POWERS
    except PlatformError as refused:
        assert refused.message


FIND_SPACE = """
import ctypes
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for line in list(open("/proc/self/maps")):
    first, past = (int(at, 16) for at in line.split()[0].split("-"))
    if line.split()[1] == "r-xp" and past - first == 4096 and len(line.split()) == 5:
        space = first
"""


@pytest.mark.parametrize("ending", ["\\r", "\\x0b", "\\x85", "\\u2028"])
async def test_a_file_name_does_not_pass_for_a_mapping(attempts: Attempts, ending: str) -> None:
    """A line about private memory, below which the runner would be written into shared pages."""
    init = f"""{FIND_SPACE}
name = "/tmp/x{ending}%x-%x rw-p 00000000 00:00 0" % (space, space + 65536)
write(name, "x" * 4096)
fd = os.open(name, os.O_RDONLY)
assert libc.mmap(0x10000000, 4096, 1, 0x12, fd, 0) == 0x10000000
shared = os.memfd_create("m")
os.ftruncate(shared, 65536)
assert libc.mmap(space, 65536, 5, 0x11, shared, 0) == space
os.close(shared)
"""
    with pytest.raises(PlatformError, match="shared between processes"):
        async with forks_of(attempts, init):
            pass


@pytest.mark.parametrize(
    "area",
    [
        "libc.mmap(None, 1 << 36, 1, 0x4021, -1, 0)",
        "libc.mmap(None, 1 << 36, 0, 0x4021, -1, 0)",
        "libc.mmap(None, 1 << 36, 1, 0x4002, read_only, 0)",
        "libc.mmap(None, 1 << 36, 1, 0x4001, read_only, 0)",
    ],
    ids=["readable", "without access", "private, of a hole", "read only, of a hole"],
)
async def test_forks_leave_no_memory_behind_in_their_template(
    attempts: Attempts, area: str
) -> None:
    """What one fork fills or only reads there is there for the next, and on nobody's account."""
    init = f"""{FIND_SPACE}
file = os.memfd_create("hole")
os.ftruncate(file, 1 << 36)
read_only = os.open(f"/proc/self/fd/{{file}}", os.O_RDONLY)
os.close(file)
area = {area}
assert area != ctypes.c_void_p(-1).value
os.close(read_only)
"""
    with pytest.raises(PlatformError, match="shared between processes"):
        async with forks_of(attempts, init):
            pass


async def test_a_template_opens_no_way_into_its_memory_that_others_could_use(
    attempts: Attempts,
) -> None:
    """It would be one into the holder's, whoever had it. Where there is no Landlock, instances
    must have nothing to send it over (`Ground.no_templates`)."""
    async with attempts.instance(is_template=True) as template:
        script = "answer = attempt(os.open, '/proc/self/mem', os.O_RDWR)"
        assert await template.run(script) == "EACCES"


async def test_a_file_that_is_only_read_is_no_shared_memory(attempts: Attempts) -> None:
    init = """
import mmap
file = open(os.__file__)
kept = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
file.close()
"""
    async with forks_of(attempts, init) as [fork]:
        assert await fork.run("answer = b'import' in kept[:]")


@pytest.mark.parametrize(
    "code",
    ["cd80", "0f0b", "b8e70000000f05", "31ffb8690000000f05b8e70000000f05"],
    ids=["a 32-bit call", "no instruction", "exit", "setuid and exit"],
)
async def test_what_stands_where_the_holder_goes_on_gets_no_call_of_its_own(
    attempts: Attempts, code: str
) -> None:
    """The platform's first calls in a holder begin at an instruction that init can replace."""
    init = f"""{FIND_SPACE}
at = ctypes.cast(libc.syscall, ctypes.c_void_p).value
at += ctypes.string_at(at, 64).index(bytes.fromhex("0f05"))
assert libc.mprotect(at & -4096, 8192, 7) == 0
code = bytes.fromhex("{code}")
ctypes.memmove(at, code, len(code))
"""
    try:
        async with forks_of(attempts, init) as [fork]:
            assert await fork.run(POWERS) == NO_POWERS
    except PlatformError as refused:
        assert "has changed" in refused.message


async def test_forks_are_as_nice_as_other_instances(attempts: Attempts) -> None:
    without = frozenset({Layer.CPU})
    sandbox = await attempts.sandbox(without)
    if sandbox.snapshots or not HAS_AUTOGROUPS:
        pytest.skip(sandbox.snapshots or "this kernel has no autogroups")
    async with attempts.instance(without, is_template=True) as template:
        await template.run("answer = None")
        await template.instance.freeze()
        fork = await sandbox.start(spec(attempts.code, template=template.instance.id))
        try:
            seen = await Client(fork).run("answer = open('/proc/self/autogroup').read()")
            assert seen.split()[-1] == "5"
        finally:
            await fork.stop()


async def test_a_signal_handler_of_a_template_runs_nowhere_but_in_its_forks(
    attempts: Attempts,
) -> None:
    """The holder has the memory in which it is, and privileges."""
    init = """
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, lambda *_: os.system("touch /tmp/caught"))
"""
    async with forks_of(attempts, init) as [fork]:
        assert await fork.run("answer = os.listdir('/tmp')") == []


async def test_a_template_cannot_see_or_signal_its_holder(attempts: Attempts) -> None:
    async with attempts.instance(is_template=True) as template:
        look = "answer = [p for p in os.listdir('/proc') if p.isdigit()]"
        assert len(await template.run(look)) == 1
        kill = "answer = sorted({attempt(os.kill, p, 9) for p in range(3, 500)})"
        assert await template.run(kill) == ["ESRCH"]


async def test_processes_that_a_template_hides_are_found_or_end_with_it(
    attempts: Attempts,
) -> None:
    """Also those that share its memory: they could change it while forks are made of it."""
    init = """
import ctypes
stack = ctypes.create_string_buffer(1 << 20)
run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(lambda _: 0)
libc.clone(libc.pause, ctypes.c_void_p(ctypes.addressof(stack) + (1 << 20)), 0x100, None)
"""
    with pytest.raises(PlatformError, match="processes"):
        async with forks_of(attempts, init):
            pass


async def test_a_fork_bomb_in_a_fork_hits_only_itself(attempts: Attempts) -> None:
    async with forks_of(attempts, "", 2, memory_mib=2048) as [one, other]:
        bomb = """
count = 0
try:
    while count < 5000:
        if os.fork() == 0: signal.pause()
        count += 1
except OSError: pass
answer = count
"""
        assert await one.run(bomb) < 1100
        assert await other.run("answer = os.system('true')") == 0


async def test_a_fork_cannot_send_with_anothers_address(attempts: Attempts) -> None:
    async with forks_of(attempts, "") as [fork]:
        raw = "answer = attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, 255)"
        assert await fork.run(raw) == "EPERM"
        packet = "answer = attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW)"
        assert await fork.run(packet) == "EAFNOSUPPORT"


async def test_a_fork_for_which_there_are_no_descriptors_fails_alone(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Wherever it is that they run out."""
    base = tmp_path_factory.mktemp("few")
    own = Attempts(base)
    base.chmod(0o755)
    base.parent.chmod(0o755)
    try:
        sandbox = await own.sandbox()
        if sandbox.snapshots:
            pytest.skip(sandbox.snapshots)
        async with own.instance(is_template=True) as template, contextlib.AsyncExitStack() as ends:
            await template.run("answer = None")
            await template.instance.freeze()
            supervisor = sandbox.supervisor_pid
            assert supervisor
            usual = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
            highest = max(int(fd) for fd in os.listdir(f"/proc/{supervisor}/fd"))
            for more in [*range(1, 30), None]:
                soft = usual[0] if more is None else highest + more
                resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (soft, usual[1]))
                fork = await sandbox.start(spec(own.code, template=template.instance.id))
                ends.push_async_callback(fork.stop)
                with contextlib.suppress(EOFError, BrokenPipeError, ConnectionError):
                    await Client(fork).run("answer = 1")
                assert sandbox.supervisor_pid == supervisor
            assert await Client(fork).run("answer = 2") == 2
    finally:
        await own.close()


async def test_nothing_of_templates_and_forks_outlives_the_supervisor(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A holder that is traced would otherwise go on where the function wants it to."""
    base = tmp_path_factory.mktemp("killed")
    own = Attempts(base)
    base.chmod(0o755)
    base.parent.chmod(0o755)
    try:
        sandbox = await own.sandbox()
        if sandbox.snapshots:
            pytest.skip(sandbox.snapshots)
        async with own.instance(is_template=True), forks_of(own, "") as [fork]:
            await fork.run("answer = 1")
            assert sandbox.supervisor_pid
            traces = traces_of(sandbox.supervisor_pid)
            os.kill(sandbox.supervisor_pid, 9)
            assert (await fork.exit()).signal == 9
            deadline = asyncio.get_running_loop().time() + 20
            while traces.left().get("processes"):
                assert asyncio.get_running_loop().time() < deadline, traces.left()
                await asyncio.sleep(0.01)
    finally:
        await own.close()
    assert traces.left() == {}
