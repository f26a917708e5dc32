"""Where cgroups may be made, on a simulated cgroup v2: hosts that this machine is not."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from samovar.model.isolation import Layer
from samovar.sandbox.process.cgroup import CgroupTree
from samovar.sandbox.process.hierarchy import CgroupFiles
from samovar.sandbox.process.meters import meter_files
from samovar.sandbox.process.readings import Readings

ALL = frozenset({Layer.MEMORY, Layer.CPU, Layer.PIDS})
MIB = 1024 * 1024

KNOBS = {"memory": ("memory.max", "memory.high", "memory.swap.max", "memory.current", "memory.stat",
                    "memory.peak", "memory.events"),
         "cpu": ("cpu.max", "cpu.stat"), "pids": ("pids.max",)}  # fmt: skip


class FakeV2(CgroupFiles):
    """The rules of cgroup v2 on plain files. Processes are what cgroup.procs lists."""

    def __init__(self, root: Path, controllers: str, *, own: str = "/", euid: int = 0) -> None:
        self.root = root
        self.own_path = own
        self.euid = euid
        self.read_only: list[str] = []
        self.lines: list[str] = []
        self._populate(root, controllers)
        path = root
        for part in own.strip("/").split("/") if own != "/" else ():
            self.write(f"{path}/cgroup.subtree_control", f"+{controllers.replace(' ', ' +')}")
            path /= part
            self.mkdir(str(path))

    def _populate(self, directory: Path, controllers: str) -> None:
        directory.joinpath("cgroup.controllers").write_text(controllers)
        for file in ("cgroup.procs", "cgroup.subtree_control", "cgroup.kill"):
            directory.joinpath(file).write_text("")
        for controller in controllers.split():
            for knob in KNOBS.get(controller, ()):
                directory.joinpath(knob).write_text("0")

    def is_root(self) -> bool:
        return self.euid == 0

    def mounts(self) -> str:
        mount = f"41 31 0:38 / {self.root} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
        return "\n".join([*self.lines, mount])

    def own(self) -> str:
        return f"0::{self.own_path}\n"

    def mkdir(self, path: str) -> None:
        if any(path.startswith(prefix) for prefix in self.read_only):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        os.mkdir(path)
        if path.startswith(str(self.root)):
            self._populate(Path(path), Path(path, "../cgroup.subtree_control").read_text())

    def rmdir(self, path: str) -> None:
        if not os.path.isdir(path):
            raise FileNotFoundError(errno.ENOENT, "", path)
        if not path.startswith(str(self.root)):
            os.rmdir(path)
            return
        if any(Path(path).glob("*/")) or self.processes(path):
            raise OSError(errno.EBUSY, "Device or resource busy", path)
        shutil.rmtree(path)

    def processes(self, path: str) -> list[str]:
        return [pid for pid in Path(path, "cgroup.procs").read_text().split() if pid != "0"]

    def write(self, path: str, text: str) -> None:
        directory, file = os.path.split(path)
        if not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, "", path)
        if any(directory == prefix for prefix in self.read_only):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        if file == "cgroup.subtree_control":
            if self.processes(directory):
                raise OSError(errno.EBUSY, "Device or resource busy", path)
            names = {word.removeprefix("+") for word in text.split()}
            if not names <= set(Path(directory, "cgroup.controllers").read_text().split()):
                raise FileNotFoundError(errno.ENOENT, "", path)
            text = " ".join(sorted(names | set(Path(path).read_text().split())))
        elif file == "cgroup.procs":
            for listing in self.root.rglob("cgroup.procs"):
                pids = listing.read_text().split()
                if text in pids:
                    pids.remove(text)
                    listing.write_text("\n".join(pids))
            text = Path(path).read_text() + f"\n{text}"
        elif file == "cgroup.kill":
            Path(directory, "cgroup.procs").write_text("")
        Path(path).write_text(text)


def test_v2_as_root_makes_its_tree_at_the_top(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "cpu memory pids io", own="/system.slice/samovar.service")
    tree = CgroupTree.open("x", kernel)
    assert (tree.controllers, tree.missing) == (ALL, {})
    cgroup = tree.create("i1")
    cgroup.set_memory(128 * MIB)
    cgroup.set_cpu(0.5)
    cgroup.set_pids(100)
    here = tmp_path / "samovar-x" / "i1"
    knobs = ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
    assert [here.joinpath(knob).read_text() for knob in knobs] == [
        str(128 * MIB), "0", "10000 20000", "100",
    ]  # fmt: skip
    assert len(cgroup.attach_fds) == 1
    assert cgroup.remove()
    tree.close()
    assert not (tmp_path / "samovar-x").exists()


def test_v2_as_root_in_a_container_moves_processes_out_of_the_way(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "cpu memory pids")
    (tmp_path / "cgroup.procs").write_text("1\n17\n")
    tree = CgroupTree.open("x", kernel)
    assert tree.controllers == ALL
    assert kernel.processes(str(tmp_path / "samovar-host")) == ["1", "17"]


def test_v2_as_a_user_uses_its_own_cgroup_where_it_is_delegated(tmp_path: Path) -> None:
    own = "/user.slice/app.scope"
    kernel = FakeV2(tmp_path, "memory pids", own=own, euid=1000)
    (tmp_path / own[1:] / "cgroup.procs").write_text("4711")
    tree = CgroupTree.open("x", kernel)
    assert tree.controllers == {Layer.MEMORY, Layer.PIDS}
    assert "cpu" in tree.missing[Layer.CPU]
    assert (tmp_path / own[1:] / "samovar-x").is_dir()
    assert kernel.processes(str(tmp_path / own[1:] / "samovar-host")) == ["4711"]


def test_v2_started_from_the_leaf_of_an_earlier_life_goes_one_up(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "cpu memory pids", own="/app.scope", euid=1000)
    kernel.mkdir(str(tmp_path / "app.scope" / "samovar-host"))
    kernel.own_path = "/app.scope/samovar-host"
    tree = CgroupTree.open("x", kernel)
    assert tree.controllers == ALL
    assert (tmp_path / "app.scope" / "samovar-x").is_dir()


def test_v2_that_is_not_ours_to_write_is_missing_with_a_reason(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "cpu memory pids", own="/session.scope", euid=1000)
    kernel.read_only = [str(tmp_path / "session.scope")]
    tree = CgroupTree.open("x", kernel)
    assert tree.controllers == frozenset()
    assert tree.missing.keys() == ALL
    assert all("Permission denied" in why and "Delegate" in why for why in tree.missing.values())
    tree.create("i1").set_memory(1)  # harmless


def test_a_machine_without_cgroups_says_so(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "hugetlb")
    tree = CgroupTree.open("x", kernel)
    assert tree.controllers == frozenset()
    assert set(tree.missing) == ALL


def test_v2_counts_what_the_oom_killer_did(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "memory")
    cgroup = CgroupTree.open("x", kernel).create("i1")
    events = tmp_path / "samovar-x" / "i1" / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 0\n")
    assert not cgroup.oom_killed()
    events.write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n")
    assert cgroup.oom_killed()


def test_v2_slows_down_what_all_together_use_before_it_kills(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "memory")
    CgroupTree.open("x", kernel).limit_memory(320 * MIB)
    tree = tmp_path / "samovar-x"
    assert (tree / "memory.high").read_text() == str(320 * MIB)
    assert (tree / "memory.max").read_text() == str(330 * MIB)


def test_v2_pages_of_files_are_not_counted_as_used(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "memory cpu")
    cgroup = CgroupTree.open("x", kernel).create("i1")
    directory = tmp_path / "samovar-x" / "i1"
    (directory / "memory.current").write_text(f"{100 * MIB}\n")
    (directory / "memory.stat").write_text(
        f"anon {60 * MIB}\ninactive_file {25 * MIB}\nactive_file {5 * MIB}\n"
    )
    (directory / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\n")
    usage = Readings(meter_files(cgroup._of)).usage()
    assert (usage.memory_bytes, usage.cpu_s) == (70 * MIB, 1.5)


def test_v2_kills_with_one_write(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "memory pids")
    cgroup = CgroupTree.open("x", kernel).create("i1")
    (tmp_path / "samovar-x" / "i1" / "cgroup.procs").write_text("4711")
    assert not cgroup.remove(wait_s=0)
    cgroup.kill()
    assert cgroup.remove()


def test_v2_clears_an_earlier_life_wherever_it_was(tmp_path: Path) -> None:
    kernel = FakeV2(tmp_path, "cpu memory pids", own="/old.scope")
    kernel.mkdir(str(tmp_path / "old.scope" / "samovar-x"))
    kernel.mkdir(str(tmp_path / "old.scope" / "samovar-x" / "i9"))
    (tmp_path / "old.scope" / "samovar-x" / "i9" / "cgroup.procs").write_text("4711")
    kernel.mkdir(str(tmp_path / "old.scope" / "samovar-y"))
    CgroupTree.open("x", kernel)
    assert not (tmp_path / "old.scope" / "samovar-x").exists()
    assert (tmp_path / "old.scope" / "samovar-y").exists()


def test_each_controller_is_taken_from_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    kernel = FakeV2(tmp_path / "v2", "cpu memory")
    legacy = tmp_path / "a dir" / "pids"
    legacy.mkdir(parents=True)
    escaped = str(legacy).replace(" ", "\\040")
    kernel.lines = [f"39 31 0:36 /docker/c1 {escaped} rw - cgroup cgroup rw,pids"]
    tree = CgroupTree.open("x", kernel)
    assert "tasks" in tree.missing[Layer.PIDS]  # plain files: it was tried, and did not work
    assert tree.controllers == {Layer.CPU, Layer.MEMORY}
    assert list(legacy.iterdir()) == []
