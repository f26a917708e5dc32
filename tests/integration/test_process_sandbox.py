"""The process sandbox against what may befall it: hostile instances, crashes, bursts, long use."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.model.isolation import Layer
from samovar.ports import Usage
from samovar.sandbox.process.driver import ProcessSandbox
from tests.contract.sandbox_client import (
    RUNTIME,
    Client,
    eventually,
    opened,
    running,
    sleepers,
    spec,
)
from tests.traces import Traces, mounts_naming, traces_of

MODES = ["auto", "none"]


@pytest.fixture(params=MODES)
async def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ProcessSandbox]:
    async with opened(tmp_path / "data", mode=request.param) as sandbox:
        await sandbox.prepare(RUNTIME)
        yield sandbox
    assert mounts_naming(str(tmp_path)) == []


@pytest.fixture
def code(tmp_path: Path) -> Path:
    directory = tmp_path / "code"
    directory.mkdir()
    return directory


async def works(sandbox: ProcessSandbox, code: Path) -> bool:
    async with running(sandbox, code) as client:
        return bool(await client.run("answer = 6 * 7") == 42)


async def nothing_left(traces: Traces) -> None:
    await eventually(traces.left, lambda left: left == {})


def descriptors(pid: int) -> list[str]:
    return sorted(os.listdir(f"/proc/{pid}/fd"), key=int)


def zygotes(sandbox: ProcessSandbox) -> list[int]:
    found = []
    for pid, _ in traces_of(sandbox.supervisor_pid or 0).processes:
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            open_files = os.listdir(f"/proc/{pid}/fd")
            if (
                parent == sandbox.supervisor_pid
                and b"zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()
                and len(open_files) > 4
            ):
                found.append(pid)
    return found


# ---------------------------------------------------------------- crashes of our own


@contextlib.contextmanager
def life(data_dir: Path, mode: str, stay: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server's sandbox in a process of its own, with an instance that has run `stay`."""
    settings: dict[str, Any] = {
        "path": [],
        "data_dir": str(data_dir),
        "mode": mode,
        "blanks": 2,
        "runtime": RUNTIME,
        "scripts": [],
        "stay": stay,
        "contained": False,
    }
    script = Path(__file__).with_name("sandbox_life.py")
    root = str(script.parent.parent.parent)
    process = subprocess.Popen(
        [sys.executable, str(script), json.dumps(settings | {"path": [root]})],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        supervisor = json.loads(process.stdout.readline())["supervisor"]
        assert json.loads(process.stdout.readline()) == {"staying": True}
        yield process, supervisor
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


LEAVES_PROCESSES = (
    "import subprocess\n"
    "subprocess.Popen(['sleep', '4321.5'])\n"
    "subprocess.Popen(['sleep', '4321.5'], start_new_session=True)\n"
    "answer = None"
)


@pytest.mark.parametrize("mode", MODES)
async def test_a_server_that_is_killed_leaves_nothing(tmp_path, mode):
    with life(tmp_path / "data", mode, LEAVES_PROCESSES) as (server, supervisor):
        traces = traces_of(server.pid)
        assert len(traces.processes) >= 5
        assert supervisor in {pid for pid, _ in traces.processes}
        server.kill()
        await nothing_left(traces)
    assert mounts_naming(str(tmp_path)) == []


async def test_a_supervisor_that_is_killed_with_its_server_leaves_no_process(tmp_path):
    with life(tmp_path / "data", "auto", LEAVES_PROCESSES) as (server, supervisor):
        traces = traces_of(server.pid)
        assert supervisor in {pid for pid, _ in traces.processes}
        os.kill(supervisor, signal.SIGKILL)
        server.kill()
        await eventually(lambda: traces.left().get("processes", []), lambda left: left == [])
    async with opened(tmp_path / "data"):
        assert "cgroups" not in traces.left()  # the next life clears what has a name


async def test_a_supervisor_that_is_killed_is_replaced(sandbox, code):
    traces = traces_of(sandbox.supervisor_pid)
    async with running(sandbox, code) as client:
        killed = sandbox.supervisor_pid
        os.kill(killed, signal.SIGKILL)
        assert (await client.exit()).signal == signal.SIGKILL
        assert await works(sandbox, code)
        assert sandbox.supervisor_pid != killed
    if Layer.PROCESSES in sandbox.isolation.layers:
        await nothing_left(Traces(traces.processes, frozenset(), frozenset()))


async def test_a_start_that_a_dying_supervisor_has_not_answered_fails_and_says_so(sandbox, code):
    instance = await sandbox.start(spec(code))
    os.kill(sandbox.supervisor_pid, signal.SIGKILL)
    exit_ = await Client(instance).exit()
    assert exit_.failure or exit_.signal == signal.SIGKILL
    await instance.stop()
    assert await works(sandbox, code)


async def test_a_zygote_that_dies_is_replaced(sandbox, code):
    (zygote,) = await eventually(lambda: zygotes(sandbox), lambda found: len(found) == 1)
    os.kill(zygote, signal.SIGKILL)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):  # more than there are blanks
            client = await stack.enter_async_context(running(sandbox, code))
            assert await client.run("answer = 1") == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_server_can_follow_one_that_was_killed_at_once(tmp_path, code, mode):
    with life(tmp_path / "data", mode, LEAVES_PROCESSES) as (server, _):
        traces = traces_of(server.pid)
        server.kill()
        async with opened(tmp_path / "data", mode=mode) as sandbox:
            assert await works(sandbox, code)
            assert "processes" not in traces.left()


# ---------------------------------------------------------------- hostile instances

HOSTILE = {
    "forks without end": (
        "import os, threading, time\n"
        "def bomb():\n"
        "    while True:\n"
        "        try:\n"
        "            if os.fork() == 0: bomb()\n"
        "        except OSError: time.sleep(0.01)\n"
        "threading.Thread(target=bomb, daemon=True).start()\n"
        "time.sleep(0.2)\n"
        "answer = None"
    ),
    "holds its pipes open in another session": (
        "import subprocess\n"
        "subprocess.Popen(['sleep', '999.25'], start_new_session=True, close_fds=False)\n"
        "answer = None"
    ),
    "ignores every signal": (
        "import signal, subprocess\n"
        "for n in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
        "    signal.signal(n, signal.SIG_IGN)\n"
        "subprocess.Popen(['sleep', '999.25'])\n"
        "answer = None"
    ),
    "stops itself": "import os, signal\nanswer = None\nos.kill(os.getpid(), signal.SIGSTOP)",
    "fills its output": (
        "import os, threading\n"
        "def flood():\n"
        "    while True: os.write(1, b'x' * 65536)\n"
        "threading.Thread(target=flood, daemon=True).start()\n"
        "answer = None"
    ),
    "fills its temporary directory": (
        "try:\n"
        "    with open('/tmp/big', 'wb') as file:\n"
        "        for _ in range(64): file.write(bytes(1 << 20))\n"
        "except OSError: pass\n"
        "answer = None"
    ),
}


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_instance_hurts_itself_alone(sandbox, code, script):
    if "fork()" in script and Layer.PIDS not in sandbox.isolation.layers:
        pytest.skip("nothing here bounds the number of processes")
    async with running(sandbox, code) as bystander:
        hostile = await sandbox.start(spec(code))
        client = Client(hostile)
        await client.init()
        with contextlib.suppress(TimeoutError, EOFError):
            async with asyncio.timeout(1):
                await client.run(script)
        assert await works(sandbox, code)
        await hostile.stop()
        assert (await hostile.exited).failure is None
        assert await bystander.run("answer = 1") == 1
    assert sleepers(sandbox, "999.25") == set()


async def test_an_instance_that_closes_all_it_has_is_over(sandbox, code):
    async with running(sandbox, code) as client:
        with pytest.raises(EOFError):
            await client.run("import os; os.closerange(0, 100); answer = None")
        await client.instance.stop()
    assert await works(sandbox, code)


async def test_a_wait_of_many_stops_is_a_wait_of_one(sandbox, code):
    async with running(sandbox, code) as client:
        await asyncio.gather(*(client.instance.stop() for _ in range(5)))
        assert (await client.exit()).signal == signal.SIGKILL


# ---------------------------------------------------------------- many


@pytest.mark.parametrize("blanks", [0, 8])
@pytest.mark.parametrize("mode", MODES)
async def test_a_burst_of_starts_is_served_to_the_last(tmp_path, code, mode, blanks):
    async def answer(sandbox: ProcessSandbox, number: int) -> int:
        async with running(sandbox, code) as client:
            return int(await client.run(f"answer = {number}"))

    async with opened(tmp_path / "data", mode=mode, blanks=blanks) as sandbox:
        answers = await asyncio.gather(*(answer(sandbox, number) for number in range(64)))
    assert answers == list(range(64))


async def test_hundreds_of_starts_leave_the_supervisor_as_it_was(tmp_path, code):
    async with opened(tmp_path / "data", blanks=2) as sandbox:
        await sandbox.prepare(RUNTIME)
        supervisor = sandbox.supervisor_pid
        for _ in range(20):
            assert await works(sandbox, code)
        settled = await rest(sandbox)
        own = descriptors(os.getpid())
        for _ in range(15):
            assert all(await asyncio.gather(*(works(sandbox, code) for _ in range(20))))
        assert sandbox.supervisor_pid == supervisor
        grown = {kind: count - settled[kind] for kind, count in (await rest(sandbox)).items()}
        assert descriptors(os.getpid()) == own
    # Namespaces that a burst called for may be kept for the next.
    assert grown["processes"] <= 0
    assert grown["cgroups"] <= 0
    assert grown["descriptors"] <= 128 * 2


async def rest(sandbox: ProcessSandbox) -> dict[str, int]:
    """What there is when all that is done at leisure has been done."""
    seen: list[dict[str, int]] = []

    def look() -> dict[str, int]:
        traces = traces_of(sandbox.supervisor_pid or 0)
        seen.append(
            {
                "processes": len(traces.processes),
                "cgroups": len(traces.cgroups),
                "descriptors": len(descriptors(sandbox.supervisor_pid or 0)),
            }
        )
        return seen[-1]

    await eventually(look, lambda _: len(seen) > 40 and len({str(s) for s in seen[-40:]}) == 1)
    return seen[-1]


async def test_an_instance_tells_what_it_uses(sandbox, code):
    async with running(sandbox, code, memory_mib=512) as client:
        before = client.instance.usage()
        await client.run(
            "import time; x = bytearray(64 << 20); begun = time.process_time(); answer = 0"
        )
        await client.run("while time.process_time() < begun + 0.1: pass\nanswer = 0")
        during = client.instance.usage()
        assert during.memory_bytes >= before.memory_bytes + (60 << 20)
        assert during.cpu_s >= 0.05
        assert sandbox.memory_bytes() >= during.memory_bytes
        await client.run("x = answer = None")
        assert client.instance.usage().memory_bytes < during.memory_bytes - (30 << 20)
    assert client.instance.usage() == Usage()
