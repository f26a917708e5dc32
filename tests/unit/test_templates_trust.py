"""What templates need of a machine, and what their runners tell of failures."""

from __future__ import annotations

import errno
import os

import pytest

from samovar.model.isolation import Layer
from samovar.sandbox.process import link
from samovar.sandbox.process.call_list import FAILURE, CallList
from samovar.sandbox.process.layers import Ground

ALL = frozenset(Layer)


@pytest.mark.parametrize(
    ("lacking", "blamed"),
    [
        ({Layer.PROCESSES}, Layer.PROCESSES),
        ({Layer.NETWORK, Layer.LANDLOCK}, Layer.NETWORK),
        ({Layer.MOUNTS, Layer.LANDLOCK}, Layer.MOUNTS),
        (ALL - {Layer.USER, Layer.SECCOMP}, Layer.PROCESSES),
    ],
    ids=["processes", "network", "mounts", "all but a few"],
)
def test_there_are_no_templates_whose_memory_others_could_reach(
    lacking: frozenset[Layer], blamed: Layer
) -> None:
    reason = Ground(layers=ALL - lacking, missing=dict.fromkeys(lacking, "no room")).no_templates
    assert reason
    assert f"{blamed} (no room)" in reason


@pytest.mark.parametrize(
    "layers",
    [ALL, ALL - {Layer.USER, Layer.NETWORK, Layer.MEMORY}, ALL - {Layer.LANDLOCK}, ALL - ALL],
    ids=["all", "without root", "without Landlock", "none"],
)
def test_there_are_templates_elsewhere(layers: frozenset[Layer]) -> None:
    assert Ground(layers=layers, missing={}).no_templates is None


def test_a_runner_that_fails_is_told_of_by_its_call_and_the_error() -> None:
    calls = CallList(0)
    calls.call(105, 1)
    calls.call(106, 1)
    call_bytes = 9 * 8
    past_last = int.from_bytes(calls.text()[7 * 8 : 8 * 8], "little")  # after an error
    told = FAILURE.pack(past_last - call_bytes, -errno.EPERM)
    assert calls.reason(told) == f"system call 106: {os.strerror(errno.EPERM)}"
    assert calls.reason(FAILURE.pack(0, -errno.EPERM)).startswith("system call ?")


def test_descriptors_are_duplicated_all_or_none() -> None:
    read_fd, write_fd = os.pipe()
    try:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="Bad file descriptor"):
            link.duplicates([read_fd, write_fd, 1 << 20])
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        link.close_all([read_fd, write_fd])
