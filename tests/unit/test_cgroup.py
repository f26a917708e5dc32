"""Limits on an instance as a whole, on this machine's cgroups."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samovar.model.isolation import Layer
from samovar.sandbox.process.cgroup import Cgroup, CgroupTree, _Place
from samovar.sandbox.process.hierarchy import CgroupFiles, remove_tree
from samovar.sandbox.process.readings import Readings

ALL = frozenset({Layer.MEMORY, Layer.CPU, Layer.PIDS})
MIB = 1024 * 1024


def wait_until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def tree(name: str) -> Iterator[CgroupTree]:
    tree = CgroupTree.open(name)
    try:
        if tree.controllers != ALL:
            pytest.skip(f"this machine lacks {tree.missing}")
        yield tree
    finally:
        tree.close()
    assert left_of(name) == []


def left_of(name: str) -> list[str]:
    """Every cgroup on this machine that has something of `name` in its path."""
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if f"samovar-{name}" in path]


def join(cgroup: Cgroup, body: str) -> subprocess.Popen[str]:
    """Start a Python process that joins the cgroup and then runs `body`."""
    fds = cgroup.attach_fds
    script = f"import os, sys, time\nfor fd in {fds}: os.write(fd, b'0')\n{body}"
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", script],
        pass_fds=fds,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_memory_is_a_hard_limit(tree: CgroupTree) -> None:
    cgroup = tree.create("a")
    cgroup.set_memory(48 * MIB)
    with join(cgroup, "x = bytearray(100 << 20); print('survived')") as process:
        assert process.communicate()[0] == ""
    assert process.returncode == -signal.SIGKILL
    assert cgroup.oom_killed()
    assert cgroup.remove(wait_s=5)


def test_memory_within_the_limit_is_not_touched_and_its_peak_known(tree: CgroupTree) -> None:
    cgroup = tree.create("a")
    cgroup.set_memory(100 * MIB)
    with join(cgroup, "x = bytearray(40 << 20); print('survived')") as process:
        assert process.communicate()[0] == "survived\n"
    assert not cgroup.oom_killed()
    if "peak" in cgroup.meters:
        peak = int(os.pread(cgroup.meters["peak"], 32, 0))
        assert 40 * MIB < peak <= 100 * MIB
    assert cgroup.remove(wait_s=5)


HOLD = """
x = bytearray({mib} << 20)
print('held', flush=True)
sys.stdin.read()
"""


def test_an_instance_over_its_limit_dies_alone_though_the_tree_kills_nobody(
    tree: CgroupTree,
) -> None:
    tree.limit_memory(400 * MIB)
    greedy, other = tree.create("a"), tree.create("b")
    for cgroup in (greedy, other):
        cgroup.set_memory(64 * MIB)
    with join(other, "print('begun', flush=True); time.sleep(60)") as neighbour:
        with join(greedy, "x = bytearray(100 << 20); print('survived')") as process:
            assert process.communicate()[0] == ""
        assert process.returncode == -signal.SIGKILL
        assert greedy.oom_killed()
        assert neighbour.poll() is None
        neighbour.kill()
    assert greedy.remove(wait_s=5)
    assert other.remove(wait_s=5)


def test_what_all_together_may_not_have_waits_and_nobody_is_killed(tree: CgroupTree) -> None:
    version, directory = tree.create("probe")._of[Layer.MEMORY]
    if version != 1:
        pytest.skip("v2 slows down instead")
    tree.limit_memory(150 * MIB)
    first, second = tree.create("a"), tree.create("b")
    with join(first, HOLD.format(mib=90)) as early:
        assert early.stdout is not None
        assert early.stdout.readline() == "held\n"
        with join(second, HOLD.format(mib=90)) as late:
            assert late.stdout is not None
            state = Path(directory).parent / "memory.oom_control"
            wait_until(lambda: "under_oom 1" in state.read_text())
            assert (early.poll(), late.poll()) == (None, None)
            early.kill()
            assert late.stdout.readline() == "held\n"  # there is room now
            late.kill()
    assert (first.oom_killed(), second.oom_killed()) == (False, False)
    assert first.remove(wait_s=5)
    assert second.remove(wait_s=5)


def test_the_tree_tells_what_all_together_use(tree: CgroupTree) -> None:
    meters = Readings(tree.meters())
    cgroup = tree.create("a")
    with join(cgroup, HOLD.format(mib=50)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert 50 * MIB < meters.usage().memory_bytes < 80 * MIB
        process.kill()
    meters.close()
    assert cgroup.remove(wait_s=5)


def test_the_memory_limit_can_be_lowered_and_raised(tree: CgroupTree) -> None:
    cgroup = tree.create("a")
    for limit_mib in (256, 64, 512):
        cgroup.set_memory(limit_mib * MIB)
    with join(cgroup, "x = bytearray(200 << 20); print('survived')") as process:
        assert process.communicate()[0] == "survived\n"
    assert cgroup.remove(wait_s=5)


def test_processes_are_limited(tree: CgroupTree) -> None:
    cgroup = tree.create("a")
    cgroup.set_pids(5)
    body = """
children = []
try:
    while len(children) < 50:
        pid = os.fork()
        if pid == 0: time.sleep(60)
        children.append(pid)
except BlockingIOError:
    print(len(children))
for pid in children: os.kill(pid, 9)
"""
    with join(cgroup, body) as process:
        assert process.communicate()[0] == "4\n"
    assert cgroup.remove(wait_s=5)


def test_cpu_time_is_limited(tree: CgroupTree) -> None:
    cgroup = tree.create("a")
    cgroup.set_cpu(0.06)
    version, directory = cgroup._of[Layer.CPU]
    assert version in (1, 2)

    def throttled() -> bool:
        lines = dict(line.split() for line in Path(directory, "cpu.stat").read_text().splitlines())
        return int(lines["nr_throttled"]) > 3

    with join(cgroup, "while True: pass") as process:
        wait_until(throttled)
        process.kill()
    assert cgroup.remove(wait_s=5)


def test_more_cpu_than_the_surroundings_have_means_what_they_have(tree: CgroupTree) -> None:
    cgroup = tree.create("a")
    version, directory = cgroup._of[Layer.CPU]
    if version != 1:
        pytest.skip("v2 accepts any number")
    Path(directory).parent.joinpath("cpu.cfs_quota_us").write_text("50000")
    cgroup.set_cpu(4.0)
    assert Path(directory, "cpu.cfs_quota_us").read_text() == "-1\n"


def test_a_fork_bomb_can_be_killed(tree: CgroupTree) -> None:
    cgroup = tree.create("a")
    cgroup.set_pids(40)
    body = """
print("begun", flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
    with join(cgroup, body) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert not cgroup.remove(wait_s=0)
        cgroup.kill()
        wait_until(lambda: cgroup.remove(wait_s=0.1))


def test_the_killed_are_not_held_up_by_their_cpu_limit(tree: CgroupTree) -> None:
    cgroup = tree.create("a")
    cgroup.set_cpu(0.05)
    with join(cgroup, "print('begun', flush=True); time.sleep(60)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        cgroup.kill()
        version, directory = cgroup._of[Layer.CPU]
        limit = Path(directory, "cpu.cfs_quota_us" if version == 1 else "cpu.max")
        assert limit.read_text().split()[0] in ("-1", "max")
        process.wait()
    assert cgroup.remove(wait_s=5)


def test_closing_kills_and_removes_what_is_left(tree: CgroupTree, name: str) -> None:
    with join(tree.create("a"), "print('begun', flush=True); time.sleep(60)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        tree.close()
        assert process.wait() == -signal.SIGKILL
    assert left_of(name) == []


def test_what_a_killed_life_left_is_cleared(name: str) -> None:
    life = f"""
import os, subprocess, time
from samovar.sandbox.process.cgroup import CgroupTree
cgroup = CgroupTree.open({name!r}).create("old")
pid = os.fork()
if pid == 0:
    for fd in cgroup.attach_fds: os.write(fd, b"0")
    print(os.getpid(), flush=True)
    time.sleep(60)
os.wait()
"""
    with subprocess.Popen([sys.executable, "-c", life], stdout=subprocess.PIPE, text=True) as old:
        assert old.stdout is not None
        orphan = int(old.stdout.readline())
        old.kill()
        old.stdout.close()
    if not left_of(name):
        pytest.skip("no cgroups here")
    tree = CgroupTree.open(name)
    try:
        wait_until(lambda: not Path(f"/proc/{orphan}/cmdline").exists() or is_zombie(orphan))
        assert not [path for path in left_of(name) if path.endswith("/old")]
    finally:
        tree.close()


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


@pytest.fixture
def v2_directory(name: str) -> Iterator[str]:
    """A cgroup v2 directory, without controllers of ours if need be."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    points = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    try:
        directory = f"{points[0]}/samovar-{name}"
        os.mkdir(directory)
    except (IndexError, OSError) as error:
        pytest.skip(f"no cgroup v2 here: {error}")
    yield directory
    assert remove_tree(CgroupFiles(), directory)


def test_v2_processes_join_and_are_killed(v2_directory: str) -> None:
    cgroup = Cgroup(CgroupFiles(), [_Place(v2_directory, 2, frozenset())], "i1")
    with join(cgroup, "os.fork(); print('begun', flush=True); time.sleep(60)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert not cgroup.remove(wait_s=0)
        cgroup.kill()
        assert process.wait() == -signal.SIGKILL
        wait_until(lambda: cgroup.remove(wait_s=0.1))
