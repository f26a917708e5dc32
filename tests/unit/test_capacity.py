"""The memory that a worker reckons with."""

from __future__ import annotations

import os

import pytest

from samovar.worker.capacity import machine_memory_mib

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
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert machine_memory_mib(tmp_path) == expected_mib


def test_this_machine_has_some_memory():
    assert 0 < machine_memory_mib() <= TOTAL_MIB
