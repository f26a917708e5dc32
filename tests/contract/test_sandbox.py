"""What every sandbox driver does, whatever it isolates: the port's contract."""

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
from tests.contract.sandbox_client import (
    LIMIT_S,
    RUNTIME,
    Client,
    ScriptError,
    eventually,
    opened,
    running,
    sleepers,
    spec,
)
from tests.traces import mounts_naming, traces_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

DRIVERS = {
    "process": {"mode": "auto"},
    "process-on-demand": {"mode": "auto", "blanks": 0},
    "none": {"mode": "none"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DRIVERS.values(), ids=DRIVERS)
async def sandbox(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProcessSandbox]:
    data_dir = tmp_path_factory.mktemp("sandbox")
    async with opened(data_dir, **request.param) as sandbox:
        await sandbox.prepare(RUNTIME)
        assert sandbox.supervisor_pid
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


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("layers")
    (directory / "python").mkdir()
    (directory / "python" / "tea.txt").write_text("green")
    for path in (directory, directory / "python"):
        path.chmod(0o755)
    return directory


async def test_an_instance_starts_and_answers(sandbox, code):
    async with running(sandbox, code) as client:
        assert await client.run("answer = 6 * 7") == 42


async def test_an_instance_keeps_its_state_between_invocations(sandbox, code):
    async with running(sandbox, code) as client:
        await client.run("count = 1; answer = None")
        assert await client.run("count += 1; answer = count") == 2


async def test_an_instance_finds_its_code_at_its_task_root(sandbox, code):
    async with running(sandbox, code) as client:
        script = f"answer = open({client.instance.task_root!r} + '/greeting.txt').read()"
        assert await client.run(script) == "hello"


async def test_an_instance_finds_its_layers_where_it_is_told(sandbox, code, layers):
    async with running(sandbox, code, layers_dir=layers) as client:
        opt = client.instance.layers_root
        assert await client.run(f"answer = open({opt!r} + '/python/tea.txt').read()") == "green"
        if Layer.MOUNTS in sandbox.isolation.layers:
            assert opt == "/opt"


async def test_an_instance_cannot_change_its_layers(sandbox, code, layers):
    if not {Layer.MOUNTS, Layer.USER} & sandbox.isolation.layers:
        pytest.skip("nothing keeps it from what the server's own user may do")
    script = (
        "import os\n"
        "answer = []\n"
        "for attempt in (lambda: open(OPT + '/mine', 'w'), lambda: os.chmod(OPT, 0o777),\n"
        "                lambda: os.remove(OPT + '/python/tea.txt'),\n"
        "                lambda: open(OPT + '/python/tea.txt', 'a')):\n"
        "    try: answer.append(str(attempt()))\n"
        "    except OSError as error: answer.append(type(error).__name__)\n"
    )
    async with running(sandbox, code, layers_dir=layers) as client:
        answer = await client.run(f"OPT = {client.instance.layers_root!r}\n{script}")
        assert set(answer) <= {"OSError", "PermissionError"}
    assert (layers / "python" / "tea.txt").read_text() == "green"


async def test_an_instance_without_layers_has_none_of_others(sandbox, code, layers):
    async with (
        running(sandbox, code, layers_dir=layers),
        running(sandbox, code) as client,
    ):
        assert client.instance.layers_root is None
        if Layer.MOUNTS in sandbox.isolation.layers:
            assert await client.run("import os; answer = os.listdir('/opt')") == []


async def test_layers_that_are_not_there_fail_the_instance(sandbox, code, layers):
    if Layer.MOUNTS not in sandbox.isolation.layers:
        pytest.skip("the function itself meets the missing files")
    instance = await sandbox.start(spec(code, layers_dir=layers / "missing"))
    exit_ = await Client(instance).exit()
    await instance.stop()
    assert "No such file" in exit_.failure


async def test_an_instance_prints_to_its_output(sandbox, code):
    async with running(sandbox, code) as client:
        await client.run(
            "import os; os.write(1, b'out '); os.system('echo err 1>&2'); answer = None"
        )
        assert client.output() == "out err\n"


async def test_an_instance_holds_no_descriptor_but_its_own(sandbox, code):
    async with running(sandbox, code) as client:
        # Not from /proc: where a container hides parts of its own, instances have an empty one.
        kinds = await client.run(
            "import os, stat\n"
            "answer = {}\n"
            "for fd in range(65536):\n"
            "    try: status = os.fstat(fd)\n"
            "    except OSError: continue\n"
            "    answer[fd] = stat.filemode(status.st_mode)[0], status.st_rdev\n"
        )
        null = os.stat("/dev/null").st_rdev
        assert kinds == {"0": ["c", null], "1": ["p", 0], "2": ["p", 0], "3": ["s", 0]}


async def test_an_exit_tells_the_code(sandbox, code):
    async with running(sandbox, code) as client:
        with pytest.raises(EOFError):
            await client.run("import os; os._exit(7)")
        exit_ = await client.exit()
        assert (exit_.code, exit_.signal, exit_.failure) == (7, None, None)


async def test_a_crash_tells_the_signal(sandbox, code):
    async with running(sandbox, code) as client:
        with pytest.raises(EOFError):
            await client.run("import ctypes; ctypes.string_at(0)")
        exit_ = await client.exit()
        assert (exit_.code, exit_.signal, exit_.out_of_memory) == (None, signal.SIGSEGV, False)


async def test_abort_ends_an_instance_as_anywhere(sandbox, code):
    """It needs the C library to know its own thread's id, also after a raw clone."""
    async with running(sandbox, code) as client:
        with pytest.raises(EOFError):
            await client.run("import os; os.abort()")
        assert (await client.exit()).signal == signal.SIGABRT


async def test_a_signal_to_itself_ends_an_instance_as_anywhere(sandbox, code):
    for number in (signal.SIGKILL, signal.SIGTERM):
        async with running(sandbox, code) as client:
            with pytest.raises(EOFError):
                await client.run(f"import os; os.kill(os.getpid(), {number:d})")
            exit_ = await client.exit()
            assert (exit_.signal, exit_.out_of_memory) == (number, False)


async def test_orphans_do_not_add_up(sandbox, code):
    if Layer.PROCESSES not in sandbox.isolation.layers:
        pytest.skip("the supervisor adopts them")
    async with running(sandbox, code) as client:
        listing = (
            "import os, time\n"
            "states = {}\n"
            "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
            "    try: fields = open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()\n"
            "    except OSError: continue\n"
            "    if fields[1] == '1': states[pid] = fields[0]\n"
            "answer = states"
        )
        await client.run("import os\nfor _ in range(20): os.system('true & true &')\nanswer = None")
        deadline = asyncio.get_running_loop().time() + LIMIT_S
        while orphans := await client.run(listing):
            assert asyncio.get_running_loop().time() < deadline, orphans


async def test_an_instance_cannot_touch_the_first_process_of_its_namespace(sandbox, code):
    if Layer.PROCESSES not in sandbox.isolation.layers:
        pytest.skip("it has no namespace")
    script = (
        "import os, signal\n"
        "def attempt(what):\n"
        "    try: return str(what())\n"
        "    except OSError as error: return type(error).__name__\n"
        "answer = [attempt(lambda: os.kill(1, signal.SIGKILL)),\n"
        "          attempt(lambda: os.readlink('/proc/1/root')),\n"
        "          attempt(lambda: os.listdir('/proc/1/fd')),\n"
        "          attempt(lambda: open('/proc/1/mem'))]"
    )
    async with running(sandbox, code) as client:
        refused = {"PermissionError", "FileNotFoundError"}  # the latter: it can't even be seen
        assert set(await client.run(script)) <= refused
        assert await client.run("answer = os.getpid() != 1") is True


async def test_what_an_instance_printed_can_be_read_after_its_end(sandbox, code):
    async with running(sandbox, code) as client:
        with pytest.raises(EOFError):
            await client.run("import os; os.write(2, b'last words'); os._exit(1)")
        await client.exit()
        assert client.output() == "last words"


async def test_stop_ends_everything_that_an_instance_has_started(sandbox, code):
    async with running(sandbox, code) as client:
        await client.run(
            "import subprocess\n"
            "subprocess.Popen(['sleep', '1234.5'])\n"
            "daemon = ['sh', '-c', 'sleep 1234.5 & sleep 1234.5']\n"
            "subprocess.Popen(daemon, start_new_session=True)\n"
            "answer = None"
        )
        begun = await eventually(lambda: sleepers(sandbox, "1234.5"), lambda found: len(found) >= 3)
        await client.instance.stop()
        assert begun & sleepers(sandbox, "1234.5") == set()


async def test_stop_tells_how_it_ended_and_can_be_repeated(sandbox, code):
    instance = await sandbox.start(spec(code))
    await instance.stop()
    await instance.stop()
    exit_ = await instance.exited
    assert exit_.signal == signal.SIGKILL or exit_.failure
    assert instance.channel.fileno() == -1


async def test_a_stop_that_is_cancelled_still_ends_the_instance(sandbox, code):
    instance = await sandbox.start(spec(code))
    client = Client(instance)
    await client.init()
    stopping = asyncio.create_task(instance.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopping
    assert (await client.exit()).signal == signal.SIGKILL


async def test_an_instance_that_ignores_signals_is_stopped(sandbox, code):
    async with running(sandbox, code) as client:
        await client.run(
            "import signal\n"
            "for n in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:\n"
            "    signal.signal(n, signal.SIG_IGN)\n"
            "answer = None"
        )
    assert (await client.exit()).signal == signal.SIGKILL


async def test_an_instance_ends_when_its_channel_is_closed(sandbox, code):
    instance = await sandbox.start(spec(code))
    client = Client(instance)
    await client.init()
    instance.channel.shutdown(2)
    assert (await client.exit()).code == 0
    await instance.stop()


async def test_no_two_instances_share_their_randomness(sandbox, code):
    script = (
        "import os, random, secrets, ssl, uuid\n"
        "answer = [random.random(), secrets.token_hex(), os.urandom(8).hex(),\n"
        "          str(uuid.uuid4()), str(uuid.uuid1()), ssl.RAND_bytes(8).hex()]"
    )
    async with running(sandbox, code) as one, running(sandbox, code) as other:
        first, second = await one.run(script), await other.run(script)
    assert [a for a, b in zip(first, second, strict=True) if a == b] == []


async def test_many_instances_start_at_once(sandbox, code):
    async def answer(number: int) -> int:
        async with running(sandbox, code) as client:
            return await client.run(f"answer = {number}")

    assert await asyncio.gather(*(answer(number) for number in range(12))) == list(range(12))


async def test_an_instance_tells_where_it_came_from(sandbox, code):
    async with running(sandbox, code) as client:
        assert client.instance.origin in ("blank", "fork")


async def test_an_instance_tells_its_peak_memory(sandbox, code):
    async with running(sandbox, code) as client:
        before = client.instance.peak_memory_bytes()
        await client.run("held = bytearray(32 << 20); answer = None")
        assert client.instance.peak_memory_bytes() >= before + (30 << 20)


async def test_the_peak_memory_is_known_as_soon_as_an_instance_has_spoken(sandbox, code):
    for _ in range(8):
        async with running(sandbox, code) as client:
            assert client.instance.peak_memory_bytes() > 0


async def test_the_peak_memory_outlives_an_instance(sandbox, code):
    async with running(sandbox, code) as client:
        await client.run("held = bytearray(32 << 20); answer = None")
        with pytest.raises(EOFError):
            await client.run("import os; os._exit(1)")
        await client.exit()
        assert client.instance.peak_memory_bytes() >= 32 << 20


async def test_an_instance_cannot_have_more_memory_than_its_limit(sandbox, code):
    async with running(sandbox, code, memory_mib=128) as client:
        with pytest.raises((EOFError, ScriptError)) as ended:
            await client.run("held = bytearray(512 << 20); answer = None")
        if Layer.MEMORY in sandbox.isolation.layers:
            exit_ = await client.exit()
            assert (exit_.signal, exit_.out_of_memory) == (signal.SIGKILL, True)
            assert client.instance.peak_memory_bytes() >= 120 << 20
        else:
            assert "MemoryError" in str(ended.value)


async def test_settling_does_not_disturb_an_instance(sandbox, code):
    async with running(sandbox, code) as client:
        client.instance.settle()
        assert await client.run("answer = 1") == 1


async def test_code_that_is_not_there_fails_the_instance(sandbox, code):
    if Layer.MOUNTS not in sandbox.isolation.layers:
        pytest.skip("the runtime loop itself meets the missing code")
    instance = await sandbox.start(spec(code / "missing"))
    exit_ = await Client(instance).exit()
    await instance.stop()
    assert "No such file" in exit_.failure


async def test_a_runtime_that_is_not_there_is_refused(sandbox, code):
    with pytest.raises(PlatformError) as refused:
        await sandbox.start(spec(code, runtime="python2.7"))
    assert refused.value.code is ErrorCode.INVALID_RUNTIME


async def test_preparing_again_is_no_error(sandbox):
    await asyncio.gather(*(sandbox.prepare(RUNTIME) for _ in range(3)))


async def test_an_instance_looks_like_a_plain_interpreter(sandbox, code):
    async with running(sandbox, code) as client:
        assert await client.run(
            "import builtins, gc, signal, sys\n"
            "answer = [hasattr(builtins, 'exit'), gc.isenabled(),\n"
            "  signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,\n"
            "  [p for p in sys.path if 'samovar' in p or 'site-packages' in p]]"
        ) == [True, True, True, []]


async def test_every_runtime_of_the_machine_works(sandbox, code):
    for runtime in (name for name in sandbox.runtimes if name.startswith("python")):
        async with running(sandbox, code, runtime=runtime) as client:
            version = await client.run("import sys; answer = '%d.%d' % sys.version_info[:2]")
            assert f"python{version}" == runtime


async def test_os_errors_do_not_leak_descriptors(sandbox, code):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        async with running(sandbox, code) as client:
            await client.run("answer = 1")
    assert len(os.listdir("/proc/self/fd")) == before
