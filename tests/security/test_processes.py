"""A function and processes: the host's, another function's, and powers over the kernel."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from samovar.model.isolation import Layer
from tests.security.conftest import ROOT, Attempts

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.root]

SECCOMP = frozenset({Layer.SECCOMP})
PROCESSES = frozenset({Layer.PROCESSES})


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host."""
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


async def test_a_function_sees_only_its_own_processes(
    attempts: Attempts, victim: subprocess.Popen[bytes]
) -> None:
    script = "answer = [int(name) for name in os.listdir('/proc') if name.isdigit()]"
    processes = await attempts.inside(script)
    assert len(processes) == 1
    assert processes[0] < 10
    everything = PROCESSES | ROOT | {Layer.MOUNTS, Layer.LANDLOCK}
    assert victim.pid in await attempts.without(everything, script)


async def test_a_function_has_no_parent_that_it_could_name(attempts: Attempts) -> None:
    script = "answer = os.getppid()"
    assert await attempts.inside(script) == 0
    assert await attempts.without(PROCESSES, script) > 1


async def test_a_function_cannot_signal_the_hosts_processes(
    attempts: Attempts, victim: subprocess.Popen[bytes]
) -> None:
    script = f"answer = attempt(os.kill, {victim.pid}, signal.SIGTERM)"
    assert await attempts.inside(script) == "ESRCH"
    assert await attempts.without(PROCESSES, script) == "EPERM"  # it is another user's
    assert await attempts.without(PROCESSES | ROOT, script) == "EPERM"  # Landlock
    assert victim.poll() is None
    assert await attempts.without(PROCESSES | ROOT | {Layer.LANDLOCK}, script) == "done"
    assert victim.wait() == -15


async def test_a_function_cannot_signal_another_function(attempts: Attempts) -> None:
    """They have different users, even where they see each other."""
    without = PROCESSES | {Layer.LANDLOCK}
    async with attempts.instance(without) as one, attempts.instance(without) as other:
        pid = await other.run("answer = os.getpid()")
        assert await one.run(f"answer = attempt(os.kill, {pid}, 0)") == "EPERM"
    without |= {Layer.USER}
    async with attempts.instance(without) as one, attempts.instance(without) as other:
        pid = await other.run("answer = os.getpid()")
        assert await one.run(f"answer = attempt(os.kill, {pid}, 0)") == "done"


async def test_a_function_does_not_learn_the_hosts_name(attempts: Attempts) -> None:
    script = "answer = os.uname().nodename"
    assert await attempts.inside(script) == "localhost"
    assert await attempts.without(PROCESSES, script) == os.uname().nodename


async def test_a_function_does_not_learn_the_hosts_cgroups(attempts: Attempts) -> None:
    """Where it has none of its own it is in the server's, whose names tell of service and user."""
    script = "answer = {line.rpartition(':')[2] for line in read('/proc/self/cgroup').split()}"
    script += "; answer = sorted(answer)"
    limits = frozenset({Layer.MEMORY, Layer.CPU, Layer.PIDS})
    assert await attempts.inside(script) == ["/"]
    assert await attempts.without(limits, script) == ["/"]


async def test_functions_share_no_open_file(attempts: Attempts) -> None:
    """Not even that of /dev/null: its flags would be a way to tell each other things."""
    leave = "import fcntl; answer = fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND)"
    look = "import fcntl; answer = fcntl.fcntl(0, fcntl.F_GETFL) & (os.O_NONBLOCK | os.O_APPEND)"
    async with attempts.instance() as one, attempts.instance() as other:
        assert await one.run(leave) == 0
        assert await other.run(look) == 0
        assert await one.run(look) != 0


async def test_a_function_cannot_share_memory_with_another(attempts: Attempts) -> None:
    key = int(uuid.uuid4().hex[:7], 16)
    make, find = f"answer = call(29, {key}, 4096, 0o1666)", f"answer = call(29, {key}, 0, 0)"
    async with attempts.instance() as one, attempts.instance() as other:
        assert await one.run(make) == 0
        assert await other.run(find) == "ENOENT"
    async with attempts.instance(PROCESSES) as one, attempts.instance(PROCESSES) as other:
        try:
            assert await one.run(make) == 0
            assert await other.run(find) == 0
        finally:
            remove = f"i = libc.shmget({key}, 0, 0); answer = libc.shmctl(i, 0, None)"
            assert await one.run(remove) == 0


async def test_a_function_cannot_trace_a_process(attempts: Attempts) -> None:
    script = """
child = subprocess.Popen(["/bin/sleep", "60"])
attach, peek = call(101, 16, child.pid, 0, 0), call(310, child.pid, b"", 0, b"", 0, 0)
child.kill(); child.wait()
answer = [attach, peek]
"""
    assert await attempts.inside(script) == ["EPERM", "EPERM"]
    assert await attempts.without(SECCOMP, script) == [0, 0]


async def test_a_function_cannot_make_a_user_namespace(attempts: Attempts) -> None:
    script = """
pid = os.fork()
if pid == 0:
    os._exit(0 if call(272, 0x10000000) == 0 else 1)
answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
    assert await attempts.inside(script) == 1
    assert await attempts.without(SECCOMP, script) == 0


async def test_a_function_has_no_capabilities_and_gains_none(attempts: Attempts) -> None:
    script = """
status = dict(line.split(":", 1) for line in read("/proc/self/status").splitlines())
names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
powers = [int(status[name], 16) for name in names]
answer = [any(powers), status["NoNewPrivs"].strip(), attempt(os.setuid, 0), os.getuid() == 0]
"""
    assert await attempts.inside(script) == [False, "1", "EPERM", False]
    powers, _, setuid, is_root = await attempts.without(ROOT, script)
    assert (powers, setuid, is_root) == (True, "done", True)


async def test_every_instance_has_a_user_of_its_own(attempts: Attempts) -> None:
    script = "answer = [os.getuid(), os.getgid(), os.getgroups()]"
    async with attempts.instance() as one, attempts.instance() as other:
        ids, others = await one.run(script), await other.run(script)
    assert ids[0] != others[0]
    assert 0 not in ids[:2]
    assert ids[2] in ([], [ids[1]])


async def test_a_function_cannot_load_a_module(attempts: Attempts) -> None:
    """What follows is no module, so without the filter the kernel looks at it and says so."""
    script = "answer = call(175, b'no module at all' * 10, 160, b'')"
    assert await attempts.inside(script) == "EPERM"
    assert await attempts.without(SECCOMP | ROOT, script) in ("ENOEXEC", "EINVAL", "ENOSYS")


@pytest.mark.parametrize("name", ["bpf", "io_uring_setup", "userfaultfd", "add_key"])
async def test_a_function_does_not_reach_delicate_parts_of_the_kernel(
    attempts: Attempts, name: str
) -> None:
    calls = {
        "bpf": "call(321, 0, -1, 0)",
        "io_uring_setup": "call(425, 1, -1)",
        "userfaultfd": "call(323, 0xFFFF)",
        "add_key": "call(248, b'user', b'x', b'y', 1, -4)",
    }
    script = f"answer = {calls[name]}"
    assert await attempts.inside(script) == "EPERM"
    if name != "bpf":  # that one wants a capability anyway
        assert await attempts.without(SECCOMP, script) != "EPERM"


async def test_the_environment_of_the_server_is_not_the_functions(attempts: Attempts) -> None:
    server = str(os.getpid())
    script = f"answer = [attempt(read, '/proc/{server}/environ'), sorted(os.environ)]"
    environ, names = await attempts.inside(script)
    assert environ == "ENOENT"
    assert not {name for name in names if name.startswith(("PYTEST", "SSH", "SAMOVAR", "HOME"))}
    everything = PROCESSES | ROOT | {Layer.MOUNTS, Layer.LANDLOCK, Layer.SECCOMP}
    environ, _ = await attempts.without(everything, script)
    assert "PYTEST" in environ or "PATH" in environ
