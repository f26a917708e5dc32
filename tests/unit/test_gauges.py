"""What the machine tells of itself, and does not tell."""

from __future__ import annotations

from pathlib import Path

from samovar.worker.gauges import Gauges

MEMINFO = "MemTotal:       4096000 kB\nMemFree:  1024 kB\nMemAvailable:    1024000 kB\n"
STALLS = (
    "some avg10=12.50 avg60=1.00 avg300=0.10 total=9\nfull avg10=3.00 avg60=0 avg300=0 total=1\n"
)


def a_machine(root: Path) -> Gauges:
    (root / "meminfo").write_text(MEMINFO)
    (root / "pressure").mkdir()
    for what in ("cpu", "memory"):
        (root / "pressure" / what).write_text(STALLS)
    return Gauges(root)


def test_a_twentieth_of_the_machine_is_left_to_others(tmp_path: Path) -> None:
    gauges = a_machine(tmp_path)
    assert gauges.spare_mib() == 1000 - 200
    gauges.close()


def test_stalls_are_shares_of_time(tmp_path: Path) -> None:
    gauges = a_machine(tmp_path)
    assert gauges.tells_stalls
    assert (gauges.stalled("cpu"), gauges.stalled("memory")) == (0.125, 0.125)
    gauges.close()


def test_a_machine_may_tell_nothing(tmp_path: Path) -> None:
    gauges = Gauges(tmp_path)
    assert (gauges.spare_mib(), gauges.stalled("cpu"), gauges.tells_stalls) == (None, 0.0, False)
    gauges.close()


def test_this_machine_tells_what_memory_it_has_left() -> None:
    gauges = Gauges()
    spare_mib = gauges.spare_mib()
    assert spare_mib is not None
    assert spare_mib > 0
    gauges.close()
