"""The memory and the processors that a worker reckons with."""

from __future__ import annotations

import os

import pytest

from samovar.capacity import UNLIMITED_VCPUS
from samovar.worker.capacity import Capacity, machine_memory_mib, machine_processors

PROCESSORS = len(os.sched_getaffinity(0))
TOTAL_MIB = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20


@pytest.mark.parametrize(
    ("cgroup", "files", "expected_mib"),
    [
        ("", {}, TOTAL_MIB),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": str(64 << 20)}, 64),
        ("0::/", {"memory.max": str(32 << 20)}, 32),
        ("4:memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": str(16 << 20)}, 16),
        ("4:cpu,memory:/a", {"memory/memory.limit_in_bytes": str(1 << 62)}, TOTAL_MIB),
        ("0::/gone", {}, TOTAL_MIB),
    ],
)
def test_the_least_limit_on_the_way_up_counts(tmp_path, cgroup, files, expected_mib):
    control_groups(tmp_path, cgroup, files)
    assert machine_memory_mib(tmp_path) == expected_mib


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("", {}, PROCESSORS),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "25000 100000"}, 0.25),
        ("0::/", {"cpu.max": "6400000 100000"}, min(64, PROCESSORS)),
        ("2:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "-1"}, PROCESSORS),
        (
            "2:cpu,cpuacct:/a\n0::/",
            {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        ("3:cpuset:/a", {"cpu.max": "1 100000"}, PROCESSORS),
        ("0::/a", {"a/cpu.max": ""}, PROCESSORS),
    ],
)
def test_the_least_share_of_processors_counts_too(tmp_path, cgroup, files, expected):
    control_groups(tmp_path, cgroup, files)
    assert machine_processors(tmp_path) == expected


def control_groups(root, cgroup, files):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_more_is_promised_than_there_is_by_the_ratios():
    capacity = Capacity(1000, 4, memory_oversubscription=2.5, cpu_oversubscription=8)
    assert (capacity.memory_mib, capacity.vcpus) == (2500, 32)


def test_processors_are_not_counted_unless_a_ratio_is_given():
    assert Capacity(1000, 4).vcpus == UNLIMITED_VCPUS


def test_this_machine_has_some_memory():
    assert 0 < machine_memory_mib() <= TOTAL_MIB
