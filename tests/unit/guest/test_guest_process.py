"""The process that a function runs in: what it looks like, and what becomes of its ends."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from samovar.guest import wire
from tests.unit.guest.zygote import ANSWER_WITHIN_S, StartInstance

EXITS: dict[str, tuple[str, int]] = {
    "sys.exit() ends it with 0": ("sys.exit()", 0),
    "sys.exit(3) ends it with 3": ("sys.exit(3)", 3),
    "sys.exit('text') ends it with 1": ("sys.exit('text')", 1),
    "os._exit(4) ends it with 4": ("os._exit(4)", 4),
    "an interrupt ends it": ("raise KeyboardInterrupt", 130),
    "a cancellation nobody caught ends it": ("raise asyncio.CancelledError", 1),
    "a signal ends it": ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "SIGTERM ends it": ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "a segmentation fault ends it": ("ctypes.string_at(0)", -signal.SIGSEGV),
    "closing all files ends it": ("os.closerange(3, 100)", 1),
    "a channel of its own ends it": ("for fd in range(3, 100): fill(fd)", 1),
}

IMPORTS = """
import asyncio, ctypes, os, signal, sys
def fill(fd):
    try: os.dup2(0, fd)
    except OSError: pass
"""


@pytest.mark.parametrize(("statement", "status"), EXITS.values(), ids=EXITS.keys())
def test_in_a_handler(start: StartInstance, statement: str, status: int) -> None:
    instance = start(f"{IMPORTS}def handler(e, c):\n    print('last words')\n    {statement}")
    assert instance.exit_status_of({}) == status
    assert instance.output().startswith("last words\n")


@pytest.mark.parametrize(
    ("statement", "status"),
    [("sys.exit(3)", 3), ("os._exit(4)", 4), ("raise KeyboardInterrupt", 130)],
)
def test_in_the_init_phase(fork: StartInstance, statement: str, status: int) -> None:
    instance = fork(f"{IMPORTS}print('last words')\n{statement}")
    with pytest.raises(AssertionError, match="the instance ended: last words"):
        instance.init()
    assert instance.wait() == status


def test_it_ends_when_its_worker_closes_the_channel(start: StartInstance) -> None:
    instance = start("def handler(e, c): pass")
    instance.channel.shutdown(2)
    assert instance.wait() == 0


def test_a_blank_ends_when_its_worker_closes_the_channel(fork: StartInstance) -> None:
    instance = fork()
    instance.channel.shutdown(2)
    assert instance.wait() == 0


@pytest.mark.parametrize("kind", [wire.INIT, wire.READY, 99])
def test_a_frame_out_of_turn_ends_it(start: StartInstance, kind: int) -> None:
    instance = start("def handler(e, c): pass")
    instance.channel.sendall(wire.encode(kind))
    assert instance.wait() == 1
    assert "ProtocolError" in instance.output()


@pytest.mark.parametrize("where", ["import", "handler"])
def test_a_forked_child_does_not_answer_for_its_parent(start: StartInstance, where: str) -> None:
    fork = "import os\npid = os.fork()\n"
    wait = "os.waitpid(pid, 0)\n"
    if where == "import":
        source = f"{fork}if pid: {wait}\ndef handler(e, c): return os.getpid()"
    else:
        source = f"import os\ndef handler(e, c):\n  pid = os.fork()\n  if pid: {wait}"
        source += "  return os.getpid()"
    instance = start(source)
    assert instance.invoke().json == instance.pid
    assert instance.invoke().json == instance.pid


def test_a_forked_child_that_raises_does_not_answer_either(start: StartInstance) -> None:
    source = """
        import os
        def handler(event, context):
            if os.fork() == 0: raise ValueError("in the child")
            return [os.wait()[1] >> 8, os.getpid()]
    """
    instance = start(source)
    assert instance.invoke().json == [1, instance.pid]
    assert "ValueError: in the child" in instance.output()


def test_threads_and_subprocesses_work_and_may_outlive_an_invocation(start: StartInstance) -> None:
    source = """
        import subprocess, threading
        done = threading.Event()
        def handler(event, context):
            global thread
            if event: done.set(); thread.join(); return results
            thread = threading.Thread(target=lambda: results.append(done.wait()))
            thread.start()
            return subprocess.run(["/bin/sh", "-c", "echo out; exit 3"]).returncode
        results = []
    """
    instance = start(source)
    assert instance.invoke(0).json == 3
    assert instance.output() == "out\n"
    assert instance.invoke(1).json == [True]


def test_the_channel_is_not_inherited_by_programs(start: StartInstance) -> None:
    source = """
        import os
        def handler(event, context):
            return os.popen("ls -l /proc/self/fd").read().count("socket:")
    """
    assert start(source).invoke().json == 0


BROKEN = {
    "sys.stdout closed": "sys.stdout.close()",
    "sys.stdout None": "sys.stdout = None",
    "sys.stdout and sys.stderr of its own": "sys.stdout = sys.stderr = io.StringIO()",
    "a stdout that cannot be flushed": "sys.stdout = io.StringIO(); sys.stdout.flush = None",
    "fds 1 and 2 closed": "os.close(1); os.close(2)",
    "fd 1 non-blocking": "os.set_blocking(1, False); print('x' * 100_000); print('y' * 50_000)",
    "the root logger without handlers": "logging.getLogger().handlers.clear()",
    "the environment replaced": "os.environ = {}",
    "the environment emptied": "os.environ.clear()",
    "modules forgotten": "sys.modules.clear()",
    "modules broken": "json.loads = json.dumps = os.getpid = os.write = time.time = None",
    "another directory": "os.chdir('/')",
    "a profiler": "sys.setprofile(lambda *a: None)",
    "the garbage collector off": "gc.disable()",
    "a low recursion limit": "sys.setrecursionlimit(60)",
}


@pytest.mark.parametrize("statement", BROKEN.values(), ids=BROKEN.keys())
def test_the_loop_goes_on_with(start: StartInstance, statement: str) -> None:
    imports = "import gc, io, json, logging, os, sys, time\n"
    instance = start(f"{imports}def handler(e, c):\n  if e: return e\n  {statement}")
    assert instance.invoke().kind in (wire.RESPONSE, wire.ERROR)
    instance.output()
    assert instance.invoke("alive", trace_id="Root=1").json == "alive"


LOOKS: dict[str, tuple[str, Any]] = {
    "its environment is exactly what it was given": (
        "dict(os.environ)",
        {"TZ": "JST-9", "KEY": "\u00e9", "PYTHONPATH": "/opt/python:/extra"},
    ),
    "its children's environment too": ("os.popen('echo $KEY').read()", "\u00e9\n"),
    "its time zone is set": ("time.strftime('%z', time.localtime(0))", "+0900"),
    "its directory is the code": ("os.getcwd() == os.path.dirname(__file__)", True),
    "its path begins with the code": ("sys.path[0] == os.path.dirname(__file__)", True),
    "its path goes on with PYTHONPATH": ("sys.path[1:3]", ["/opt/python", "/extra"]),
    "its main module is empty": (
        "[n for n in dir(sys.modules['__main__']) if n[:2] != '__']",
        [],
    ),
    "its arguments are no secret of ours": ("sys.argv", ["bootstrap.py"]),
    "its module is named as in the handler": ("__name__", "app"),
    "its garbage collector is on": ("gc.isenabled()", True),
    "its stdin is empty": ("sys.stdin.read() if sys.stdin else ''", ""),
    "its output is UTF-8": ("[sys.stdout.encoding, sys.stderr.encoding]", ["utf-8", "utf-8"]),
    "it can be interrupted": (
        "signal.getsignal(signal.SIGINT) is signal.default_int_handler",
        True,
    ),
    "its root logger is at WARNING": ("logging.getLogger().level", 30),
}


@pytest.mark.parametrize(("expression", "value"), LOOKS.values(), ids=LOOKS.keys())
def test_a_function_sees(start: StartInstance, expression: str, value: Any) -> None:
    imports = "import gc, logging, os, signal, sys, time\n"
    env = {"TZ": "JST-9", "KEY": "\u00e9", "PYTHONPATH": "/opt/python:/extra"}
    instance = start(f"{imports}def handler(e, c): return {expression}", env=env)
    assert instance.invoke().json == value


def test_a_handler_may_be_in_a_package_or_a_folder(fork: StartInstance) -> None:
    for handler in ("package.inner.handler", "package/inner.handler"):
        instance = fork()
        package = instance.task_root / "package"
        package.mkdir(exist_ok=True)
        (package / "inner.py").write_text("def handler(e, c): return __name__")
        assert instance.init(handler).kind == wire.READY
        assert instance.invoke().json == "package.inner"


def test_a_handler_may_be_any_callable(start: StartInstance) -> None:
    source = "class H:\n  def __call__(self, e, c): return 'called'\nhandler = H()"
    assert start(source).invoke().json == "called"


@pytest.mark.parametrize("name", ["queue", "random", "samovar", "selectors"])
def test_a_functions_own_module_shadows_one_that_the_zygote_has_loaded(
    start: StartInstance, name: str
) -> None:
    source = f"import {name}\ndef handler(e, c): return {name}.mine"
    assert start(source, **{name: "mine = 'mine'"}).invoke().json == "mine"


def test_a_folder_of_data_shadows_no_module(fork: StartInstance) -> None:
    instance = fork("import email.parser\ndef handler(e, c): return email.__file__")
    (instance.task_root / "email").mkdir()
    (instance.task_root / "socket.txt").touch()
    assert instance.init().kind == wire.READY
    assert instance.invoke().json.endswith("email/__init__.py")


STATE = """
    import gc, linecache, logging, os, signal, sys, threading, time, warnings
    print("at init")
    def handler(event, context):
        gc.collect()
        return {
            "modules": sorted(sys.modules),
            "environment": dict(os.environ),
            "path": sys.path,
            "classes": sorted(repr(c) for c in object.__subclasses__()),
            "loggers": sorted(logging.root.manager.loggerDict),
            "sources": list(linecache.cache),
            "threads": threading.active_count(),
            "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd")),
            "time zone": time.tzname,
            "filters": len(warnings.filters),
            "signals": [str(signal.getsignal(n)) for n in range(1, 32)],
        }
"""


class Control:
    """What a blank waits on."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.settimeout(ANSWER_WITHIN_S)
        self.fd = self._theirs.fileno()

    def assign(self) -> None:
        self._ours.sendall(b"!")

    def await_prepared(self) -> None:
        assert self._ours.recv(100) == b"prepared"

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def control() -> Iterator[Control]:
    control = Control()
    yield control
    control.close()


def test_a_prepared_blank_looks_to_a_function_like_a_fork_on_demand(
    fork: StartInstance, control: Control
) -> None:
    blank = fork(STATE, control_fd=control.fd)
    control.await_prepared()
    control.assign()
    seen = []
    for instance in (blank, fork(STATE)):
        assert instance.init().kind == wire.READY
        seen.append(instance.invoke().json)
        assert instance.output() == "at init\n"
    assert seen[0] == seen[1]


def test_a_blank_that_gets_its_function_does_not_rehearse(
    fork: StartInstance, control: Control
) -> None:
    control.assign()
    instance = fork("def handler(e, c): return e", control_fd=control.fd)
    assert instance.init().kind == wire.READY
    assert instance.invoke("here").json == "here"


def test_a_blank_ends_when_its_control_does(fork: StartInstance, control: Control) -> None:
    instance = fork(control_fd=control.fd)
    control.close()
    assert instance.wait() == 99  # its zygote's: it has nobody to tell that it is prepared
