"""When a worker's memory gets tight, and who goes when it gets critical."""

from __future__ import annotations

import json

import pytest

from samovar.model.instance import InstanceId
from samovar.worker import pressure
from samovar.worker.pressure import Holder, Level, Reading

CALM, TIGHT, CRITICAL = Level.CALM, Level.TIGHT, Level.CRITICAL


def a_reading(used_mib: int = 500, **changes: object) -> Reading:
    """Of a thousand MiB, of which five times as much is promised."""
    settings: dict[str, object] = {"limit_mib": 1000, "promised_mib": 5000, "spare_mib": 9000}
    return Reading(used_mib=used_mib, **(settings | changes))


def ended(reading: Reading, **holders: tuple[int, int]) -> list[str]:
    """Who goes, of holders given as (used, declared)."""
    known = [Holder(InstanceId(name), *figures) for name, figures in holders.items()]
    return [sentence.instance for sentence in pressure.sentences(reading, known)]


@pytest.mark.parametrize(
    ("before", "used_mib", "after"),
    [
        (CALM, 849, CALM),
        (CALM, 850, TIGHT),
        (CALM, 950, CRITICAL),
        (TIGHT, 800, TIGHT),
        (TIGHT, 799, CALM),
        (TIGHT, 949, TIGHT),
        (CRITICAL, 900, CRITICAL),
        (CRITICAL, 899, TIGHT),
        (CRITICAL, 799, CALM),
    ],
)
def test_levels_have_hysteresis(before: Level, used_mib: int, after: Level) -> None:
    assert pressure.level(before, a_reading(used_mib)) is after


@pytest.mark.parametrize(("used_mib", "after"), [(699, CALM), (700, TIGHT)])
def test_stalls_count_only_where_much_is_in_use(used_mib: int, after: Level) -> None:
    assert pressure.level(CALM, a_reading(used_mib, memory_stalled=0.9)) is after


def test_what_other_programs_have_taken_is_not_there() -> None:
    reading = a_reading(500, spare_mib=20)
    assert reading.usable_mib == 520
    assert pressure.level(CALM, reading) is CRITICAL
    assert "other programs" in pressure.reason(reading)


def test_a_machine_that_does_not_tell_what_it_has_left_has_its_limit() -> None:
    assert a_reading(spare_mib=None).usable_mib == 1000


def test_what_is_promised_within_the_memory_there_is_is_always_kept() -> None:
    reading = a_reading(990, promised_mib=1000)
    assert pressure.level(CALM, reading) is CRITICAL
    assert pressure.sentences(reading, [Holder(InstanceId("i"), 990, 1000)]) == []
    assert pressure.pressure(CRITICAL, reading).reclaim_mib == 0
    kept = a_reading(800, promised_mib=872)
    assert pressure.admits(TIGHT, kept, 128)
    assert not pressure.admits(TIGHT, kept, 129)


def test_more_in_use_than_is_promised_is_not_kept() -> None:
    reading = a_reading(960, promised_mib=256)
    told = pressure.pressure(CRITICAL, reading)
    assert (told.admits, told.reclaim_mib) == (False, 160)
    assert pressure.look_again_s(reading) == pytest.approx(pressure.OFTEN_S)


def test_what_nobody_tells_of_is_laid_on_nobody() -> None:
    holders = {"a": (300, 1000), "b": (230, 1000), "others": (200, 3000)}
    assert ended(a_reading(960), **holders) == []
    told = [Holder(InstanceId(name), *figures) for name, figures in holders.items()]
    assert pressure.astray_mib(a_reading(960), told) == 960 - 730 - pressure.SLACK_MIB
    assert ended(a_reading(1200), **(holders | {"others": (460, 3000)})) == ["a"]


def test_where_all_that_is_promised_is_there_nobody_goes_who_is_within_it() -> None:
    reading = a_reading(970, promised_mib=900)
    assert ended(reading, whole=(768, 768), other=(132, 132)) == []
    assert ended(reading, whole=(768, 768), template=(192, 132)) == ["template"]


def test_tight_refuses_with_figures_and_asks_for_what_is_idle() -> None:
    told = pressure.pressure(TIGHT, a_reading(870))
    assert (told.admits, told.reclaim_mib) == (False, 70)
    assert "870 MiB of the 1000 MiB" in told.reason
    assert "below 800 MiB" in told.reason


def test_calm_admits() -> None:
    told = pressure.pressure(CALM, a_reading(400, cpu_stalled=0.5))
    assert (told.admits, told.reason, told.reclaim_mib) == (True, "", 0)
    assert (told.memory_used_mib, told.memory_usable_mib, told.cpu_stalled) == (400, 1000, 0.5)


def test_whoever_is_furthest_over_the_fair_share_goes_first() -> None:
    # Of 850 MiB that may be in use, 5000 MiB being promised: 0.17 for each declared.
    assert ended(a_reading(980), a=(100, 1000), b=(500, 2000), c=(380, 2000)) == ["b"]


def test_as_many_go_as_must() -> None:
    holders = dict.fromkeys("abcdefg", (160, 700))
    assert ended(a_reading(980), **holders) == ["a"]
    assert ended(a_reading(1120), **holders) == ["a", "b"]


def test_equals_go_in_the_order_of_their_names() -> None:
    assert ended(a_reading(960), b=(480, 2500), a=(480, 2500)) == ["a"]


def test_nobody_goes_who_is_within_the_fair_share() -> None:
    assert ended(a_reading(2000), a=(170, 1000), b=(680, 4000)) == []


def test_a_small_function_is_not_ended_for_a_large_one() -> None:
    assert ended(a_reading(960), small=(40, 128), large=(900, 4872)) == ["large"]


def test_the_end_is_explained() -> None:
    holders = [Holder(InstanceId("i"), 700, 2000), Holder(InstanceId("other"), 230, 3000)]
    (sentence,) = pressure.sentences(a_reading(960), holders)
    document = json.loads(sentence.fault.document("r"))
    assert document["errorType"] == "Runtime.MemoryPressure"
    for figure in ("960 MiB", "1000 MiB", "700 MiB", "2000 MB", "340 MiB", "5000 MiB"):
        assert figure in document["errorMessage"]


@pytest.mark.parametrize(
    ("used_mib", "soon_s"), [(100, 850 / 4096), (540, 410 / 4096), (949, 0.01), (2000, 0.01)]
)
def test_it_is_looked_at_before_it_can_be_critical(used_mib: int, soon_s: float) -> None:
    assert pressure.look_again_s(a_reading(used_mib)) == pytest.approx(soon_s)


def test_it_is_looked_at_seldom_where_all_promises_can_be_kept() -> None:
    assert pressure.look_again_s(a_reading(940, promised_mib=900)) == pressure.SELDOM_S
