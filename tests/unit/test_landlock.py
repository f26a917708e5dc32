"""Kernel rules on files, signals and abstract sockets, seen from processes under them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samovar.sandbox.process import landlock

pytestmark = pytest.mark.skipif(landlock.abi() == 0, reason="no Landlock in this kernel")

ABIS = range(1, min(landlock.abi(), landlock._NEWEST_KNOWN_ABI) + 1)

ENTER = """
import ctypes, errno, json, os, shutil, signal, socket, stat, subprocess, sys
from samovar.sandbox.process import landlock
def restrict(read, write, abi=None):
    assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0
    if abi is None:
        landlock.restrict(read, write)
    else:
        landlock.restrict_as(abi, read, write)
def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
def text(path, mode="r"):
    with open(path, mode) as file:
        return file.write("x") if mode == "w" else file.read()
"""


def seen(body: str) -> list[str]:
    """Run `body`, which prints a JSON list last, and return that."""
    done = subprocess.run(
        [sys.executable, "-c", ENTER + body],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: list[str] = json.loads(done.stdout)
    return result


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Three rooms: one to read, one to write, one that no rule names."""
    for room in ("read", "write", "other"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "file").write_text("secret")
    for room in ("read", "other"):
        (tmp_path / room / "tool").write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / room / "tool").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("abi", ABIS)
def test_only_named_paths_can_be_used(house: Path, abi: int) -> None:
    body = f"""
os.chdir({str(house)!r})
restrict(["read", "/usr", "/bin/sh"], ["write"], {abi})
print(json.dumps([
    attempt(text, "read/file"), attempt(text, "read/file", "w"), attempt(os.listdir, "read"),
    attempt(os.mkdir, "read/new"), attempt(os.unlink, "read/file"),
    attempt(text, "write/file"), attempt(text, "write/new", "w"), attempt(os.mkdir, "write/d"),
    attempt(os.unlink, "write/file"), attempt(os.mkfifo, "write/fifo"),
    attempt(text, "other/file"), attempt(os.listdir, "other"), attempt(text, "other/new", "w"),
    attempt(text, "/proc/self/environ"), attempt(os.listdir, "/"),
]))
"""
    assert seen(body) == (
        ["done", "EACCES", "done", "EACCES", "EACCES"]
        + ["done"] * 5
        + ["EACCES", "EACCES", "EACCES", "EACCES", "EACCES"]
    )


def test_without_rules_everything_can_be_used(house: Path) -> None:
    body = f"""
os.chdir({str(house)!r})
print(json.dumps([attempt(text, "other/file"), attempt(os.listdir, "/")]))
"""
    assert seen(body) == ["done", "done"]


def test_programs_run_from_readable_paths_only(house: Path) -> None:
    body = f"""
os.chdir({str(house)!r})
restrict(["read", "/usr", "/lib", "/bin", "/etc"], ["write", "/dev/null"])
shutil.copy("read/tool", "write/tool")
tools = ("read/tool", "write/tool", "other/tool")
print(json.dumps([attempt(subprocess.run, [tool]) for tool in tools]))
"""
    assert seen(body) == ["done", "done", "EACCES"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel itself refuses an ordinary user")
def test_device_nodes_cannot_be_made_even_by_root(house: Path) -> None:
    body = f"""
os.chdir({str(house)!r})
before = attempt(os.mknod, "other/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
restrict([], ["write"])
after = attempt(os.mknod, "write/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
print(json.dumps([before, after]))
"""
    assert seen(body) == ["done", "EACCES"]


@pytest.mark.skipif(landlock.abi() < 2, reason="needs ABI 2")
def test_files_move_between_directories_that_can_be_written(house: Path) -> None:
    body = f"""
os.chdir({str(house)!r})
os.mkdir("write/a"); os.mkdir("write/b"); text("write/a/f", "w")
restrict(["read"], ["write"])
print(json.dumps([attempt(os.rename, "write/a/f", "write/b/f"),
                  attempt(os.rename, "write/b/f", "read/f")]))
"""
    assert seen(body) == ["done", "EACCES"]


@pytest.mark.skipif(landlock.abi() < 3, reason="needs ABI 3")
def test_readable_files_cannot_be_truncated(house: Path) -> None:
    body = f"""
restrict([{str(house / "read")!r}], [])
print(json.dumps([attempt(os.truncate, {str(house / "read/file")!r}, 0)]))
"""
    assert seen(body) == ["EACCES"]


def test_a_device_file_can_be_written(house: Path) -> None:
    body = """
restrict([], ["/dev/null"])
fd = os.open("/dev/null", os.O_RDWR)
answer = attempt(os.ttyname, fd)
print(json.dumps([attempt(os.write, fd, b"x"), answer]))
"""
    assert seen(body) == ["done", "ENOTTY"]


SIGNALS = """
outside = subprocess.Popen(["/bin/sleep", "60"])
name = b"\\0samovar-test-%d" % os.getpid()
server = socket.socket(socket.AF_UNIX); server.bind(name); server.listen()
def dial():
    with socket.socket(socket.AF_UNIX) as client: client.connect(name)
reading, writing = os.pipe()
pid = os.fork()
if pid == 0:
    {restrict}
    inside = os.fork()
    if inside == 0: signal.pause()
    answers = [attempt(os.kill, outside.pid, 0), attempt(os.kill, inside, 9), attempt(dial)]
    os.write(writing, json.dumps(answers).encode()); os._exit(0)
os.waitpid(pid, 0)
print(os.read(reading, 1000).decode())
outside.kill(); outside.wait()
"""


@pytest.mark.skipif(landlock.abi() < 6, reason="needs ABI 6")
def test_processes_outside_get_no_signals_and_no_connections() -> None:
    body = SIGNALS.format(restrict='restrict(["/usr"], [])')
    assert seen(body) == ["EPERM", "done", "EPERM"]
    assert seen(SIGNALS.format(restrict="")) == ["done", "done", "done"]


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    body = f"print(json.dumps([attempt(restrict, [{str(tmp_path / 'x')!r}], [])]))"
    assert seen(body) == ["ENOENT"]


def test_a_kernel_without_landlock_says_so() -> None:
    assert seen("print(json.dumps([attempt(restrict, [], [], 0)]))") == ["ENOSYS"]
