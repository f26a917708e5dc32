"""`samovar simulate`, from the command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.server import SAMOVAR, clean_environment


def simulate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SAMOVAR), "simulate", *arguments, "--out", str(folder / "out")],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def rows(folder: Path) -> list[dict[str, object]]:
    return json.loads((folder / "out" / "report.json").read_text())["rows"]


def test_a_small_workload_under_two_policies(tmp_path: Path) -> None:
    done = simulate(
        tmp_path, "--functions", "10", "--hours", "2", "--workers", "2", "--memory", "4",
        "--policy", "fixed,thrift", "--oversubscription", "1,2", "--seed", "7",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "fixed, memory × 1",
        "thrift, memory × 1",
        "fixed, memory × 2",
        "thrift, memory × 2",
        f"{tmp_path / 'out' / 'report.md'} and its plots are written",
    ]
    assert len({row["calls"] for row in rows(tmp_path)}) == 1
    assert (tmp_path / "out" / "pareto-cold-percent-p75.svg").exists()


def test_a_trace_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "calls.csv"
    lines = [f"a,f,{300 * place + 2},2" for place in range(12)]
    file.write_text("\n".join(["app,func,end_timestamp,duration", *lines]))
    done = simulate(tmp_path, "--trace", str(file), "--policy", "fixed")
    assert done.returncode == 0, done.stderr
    assert [(row["calls"], row["cold"]) for row in rows(tmp_path)] == [(12, 1)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--policy", "lru"], "error: there is no policy 'lru'; possible: fixed, histogram"),
        (["--oversubscription", "x"], "error: 'x' is no list of ratios; possible: 1,2,4"),
        (["--oversubscription", "0"], "error: a ratio is out of its range"),
        (["--shape", "gcp"], "error: there is no shape 'gcp'; possible: azure, bursty"),
        (["--trace", "/nowhere.csv"], "error: [Errno 2] No such file"),
    ],
)
def test_what_cannot_be_simulated_is_said_in_one_line(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = simulate(tmp_path, *arguments)
    assert done.stderr.startswith(said)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
