"""Templates of the process sandbox, and the instances that are forked from them."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.isolation import Layer
from samovar.sandbox.process.driver import ProcessSandbox
from tests.contract.sandbox_client import RUNTIME, Client, eventually, opened, running, spec
from tests.traces import mounts_naming, traces_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

DRIVERS = {
    "process": {"mode": "auto"},
    "process-on-demand": {"mode": "auto", "blanks": 0},
    "none": {"mode": "none"},
}
INIT = """
import gc, os, random, secrets, signal, ssl, sys, uuid
words = ["initialised"]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DRIVERS.values(), ids=DRIVERS)
async def sandbox(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProcessSandbox]:
    data_dir = tmp_path_factory.mktemp("templates")
    async with opened(data_dir, **request.param) as sandbox:
        if sandbox.snapshots:
            pytest.skip(sandbox.snapshots)
        await sandbox.prepare(RUNTIME)
        traces = traces_of(sandbox.supervisor_pid)
        yield sandbox
        traces |= traces_of(sandbox.supervisor_pid)
    assert traces.left() == {}
    assert mounts_naming(str(data_dir)) == []


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("code")
    directory.chmod(0o755)
    (directory / "greeting.txt").write_text("hello")
    return directory


@contextlib.asynccontextmanager
async def template(sandbox: ProcessSandbox, code: Path, script: str = "", **changes):
    """A frozen template that has run INIT and this."""
    async with running(sandbox, code, is_template=True, **changes) as client:
        await client.run(f"{INIT}\n{script}\nanswer = None")
        await client.instance.freeze()
        yield client.instance


@contextlib.asynccontextmanager
async def forked(sandbox: ProcessSandbox, code: Path, of, **changes):
    instance = await sandbox.start(spec(code, template=of.id, **changes))
    try:
        yield Client(instance)
    finally:
        await instance.stop()


async def test_a_fork_goes_on_where_its_template_was(sandbox, code):
    async with template(sandbox, code) as made, forked(sandbox, code, made) as fork:
        assert await fork.run("answer = words") == ["initialised"]
        assert fork.instance.origin == "template"


async def test_forks_are_apart_from_each_other_and_from_their_template(sandbox, code):
    async with template(sandbox, code) as made:
        async with forked(sandbox, code, made) as one, forked(sandbox, code, made) as other:
            await one.run("words.append('mine'); answer = None")
            assert await other.run("answer = words") == ["initialised"]
        async with forked(sandbox, code, made) as later:
            assert await later.run("answer = words") == ["initialised"]


async def test_many_forks_are_made_at_once(sandbox, code):
    async with template(sandbox, code) as made:

        async def answer(number: int) -> int:
            async with forked(sandbox, code, made) as fork:
                return await fork.run(f"answer = {number} if words else None")

        assert await asyncio.gather(*(answer(n) for n in range(20))) == list(range(20))


async def test_a_fork_is_isolated_as_any_instance(sandbox, code):
    look = (
        "import resource\n"
        "known = os.path.exists('/proc/self/status')\n"  # it may be empty, within containers
        "lines = open('/proc/self/status').read().splitlines() if known else ()\n"
        "status = dict(l.split(':', 1) for l in lines)\n"
        "answer = [status.get(k) for k in ('CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp')]\n"
        "answer += [resource.getrlimit(k) for k in range(16) if k != 10]\n"  # 10: its mark
        "answer += [os.uname().nodename, os.listdir('/tmp') if TMP else None, os.getppid() == 0]\n"
        "answer += [open('/proc/self/cgroup').read() if known and TMP else None]\n"
    )
    look = f"import os\nTMP = {Layer.MOUNTS in sandbox.isolation.layers}\n{look}"
    async with running(sandbox, code) as plain:
        expected = await plain.run(look)
    async with template(sandbox, code) as made, forked(sandbox, code, made) as fork:
        assert await fork.run(look) == expected


async def test_a_fork_has_a_user_and_processes_of_its_own(sandbox, code):
    if not {Layer.USER, Layer.PROCESSES} <= sandbox.isolation.layers:
        pytest.skip("instances share them here")
    look = "answer = [os.getuid(), [p for p in os.listdir('/proc') if p.isdigit()]]"
    async with (
        template(sandbox, code) as made,
        forked(sandbox, code, made) as one,
        forked(sandbox, code, made) as other,
    ):
        (uid, seen), (other_uid, _) = await one.run(look), await other.run(look)
        assert uid != other_uid
        assert len(seen) == 1


async def test_a_fork_finds_its_code_and_has_a_tmp_of_its_own(sandbox, code):
    if Layer.MOUNTS not in sandbox.isolation.layers:
        pytest.skip("/tmp is the host's here")
    async with (
        template(sandbox, code, "open('/tmp/of-template', 'w').close()") as made,
        forked(sandbox, code, made) as one,
        forked(sandbox, code, made) as other,
    ):
        root = one.instance.task_root
        assert await one.run(f"answer = open({root!r} + '/greeting.txt').read()") == "hello"
        await one.run("open('/tmp/of-one', 'w').close(); answer = None")
        assert await other.run("answer = os.listdir('/tmp')") == []


async def test_a_fork_holds_no_descriptor_but_its_own(sandbox, code):
    leave = "kept = [open('/dev/null'), os.pipe(), __import__('socket').socketpair()]"
    look = (
        "import stat\n"
        "answer = {}\n"
        "for fd in range(1024):\n"
        "    try: answer[fd] = stat.filemode(os.fstat(fd).st_mode)[0]\n"
        "    except OSError: pass\n"
    )
    async with template(sandbox, code, leave) as made, forked(sandbox, code, made) as fork:
        assert await fork.run(look) == {"0": "c", "1": "p", "2": "p", "3": "s"}


async def test_a_fork_prints_to_its_own_output(sandbox, code):
    async with template(sandbox, code) as made, forked(sandbox, code, made) as fork:
        await fork.run("os.write(1, b'out '); os.system('echo err 1>&2'); answer = None")
        assert fork.output() == "out err\n"


async def test_how_a_fork_ends_is_known(sandbox, code):
    for script, how in (
        ("os._exit(7)", (7, None)),
        ("os.abort()", (None, signal.SIGABRT)),
        ("import ctypes; ctypes.string_at(0)", (None, signal.SIGSEGV)),
    ):
        async with template(sandbox, code) as made, forked(sandbox, code, made) as fork:
            with pytest.raises(EOFError):
                await fork.run(script)
            exit_ = await fork.exit()
            assert (exit_.code, exit_.signal) == how


async def test_a_fork_has_a_memory_limit_of_its_own(sandbox, code):
    if Layer.MEMORY not in sandbox.isolation.layers:
        pytest.skip("nothing limits it as a whole")
    async with (
        template(sandbox, code, memory_mib=128) as made,
        forked(sandbox, code, made, memory_mib=128) as one,
        forked(sandbox, code, made, memory_mib=128) as other,
    ):
        with pytest.raises(EOFError):
            await one.run("held = bytearray(512 << 20); answer = None")
        assert (await one.exit()).out_of_memory
        assert await other.run("held = bytearray(64 << 20); answer = len(words)") == 1


async def test_forks_outlive_their_template(sandbox, code):
    async with contextlib.AsyncExitStack() as forks:
        async with template(sandbox, code) as made:
            fork = await forks.enter_async_context(forked(sandbox, code, made))
            assert await fork.run("answer = words") == ["initialised"]
        assert await fork.run("answer = words") == ["initialised"]


async def test_there_is_no_fork_of_a_template_that_has_ended(sandbox, code):
    async with template(sandbox, code) as made:
        pass
    instance = await sandbox.start(spec(code, template=made.id))
    exit_ = await Client(instance).exit()
    await instance.stop()
    assert "template has ended" in exit_.failure


async def test_a_frozen_template_runs_no_more(sandbox, code):
    async with running(sandbox, code, is_template=True) as client:
        await client.run("import time; begun = time.monotonic(); answer = None")
        await client.instance.freeze()
        with pytest.raises((EOFError, BrokenPipeError)):
            await client.run("answer = 1")


async def test_what_would_be_shared_by_forks_is_refused(sandbox, code):
    unfit = {
        "threads": "import threading, time; threading.Thread(target=time.sleep, args=(99,),"
        " daemon=True).start()",
        "processes": "import subprocess; subprocess.Popen(['sleep', '99'])",
        "shared": "import mmap; shared = mmap.mmap(-1, 4096)",
    }
    for word, script in unfit.items():
        async with running(sandbox, code, is_template=True) as client:
            await client.run(f"{script}\nanswer = None")
            with pytest.raises(PlatformError, match=word) as refused:
                await client.instance.freeze()
            assert refused.value.code is ErrorCode.INVALID_PARAMETER


async def test_a_template_that_dies_in_its_init_says_how(sandbox, code):
    async with running(sandbox, code, is_template=True) as client:
        with pytest.raises(EOFError):
            await client.run("import os; os._exit(3)")
        assert (await client.exit()).code == 3
        with pytest.raises(PlatformError, match="ended"):
            await client.instance.freeze()


async def test_a_template_that_is_stopped_before_it_is_frozen_leaves_nothing(sandbox, code):
    for _ in range(3):
        instance = await sandbox.start(spec(code, is_template=True))
        await instance.stop()


async def test_a_template_uses_up_no_pid_of_a_fork(sandbox, code):
    """What init has counted to is not what a fork begins with: its pids are its own."""
    async with template(sandbox, code) as made, forked(sandbox, code, made) as fork:
        child = "import subprocess; answer = subprocess.run(['true']).returncode"
        assert await fork.run(child) == 0


async def test_descriptors_do_not_leak(sandbox, code):
    def count() -> int:
        return len(os.listdir(f"/proc/{sandbox.supervisor_pid}/fd"))

    async def one_life() -> None:
        async with template(sandbox, code) as made:
            for _ in range(3):
                async with forked(sandbox, code, made) as fork:
                    await fork.run("answer = 1")

    await one_life()
    before = count()
    for _ in range(3):
        await one_life()
    await eventually(count, lambda now: now <= before + 8)  # what is kept ready varies
