"""Where an instance goes: the filter, then the ranking."""

from __future__ import annotations

import dataclasses

import pytest

from samovar.capacity import UNLIMITED_VCPUS
from samovar.model.isolation import Isolation, Layer
from samovar.placement.feasible import feasible
from samovar.placement.planner import Planner
from samovar.ports import Need, Pressure, WorkerStatus

NEED = Need(runtime="python3.11", memory_mib=128, code_sha256="abc")
PROCESS = Isolation("process", frozenset(Layer))


def worker(name="w", free=1024, **changes):
    settings = {
        "id": name,
        "memory_mib": 4096,
        "free_memory_mib": free,
        "isolation": PROCESS,
        "runtimes": frozenset({"python3.11"}),
    }
    return WorkerStatus(**{**settings, **changes})


def planner_of(*workers):
    planner = Planner()
    for status in workers:
        planner.observe(status)
    return planner


def placed(*workers, need=NEED, **changes):
    return planner_of(*workers).place(dataclasses.replace(need, **changes))


# ---------------------------------------------------------------- the filter


@pytest.mark.parametrize(
    ("candidate", "can"),
    [
        (worker(free=128), True),
        (worker(free=127), False),
        (worker(draining=True), False),
        (worker(runtimes=frozenset({"python3.12"})), False),
        (worker(architecture="arm64"), False),
        (worker(pressure=Pressure(admits=False)), False),
        (worker(pressure=Pressure(reclaim_mib=1)), True),
    ],
    ids=[
        "just room",
        "too little room",
        "draining",
        "another runtime",
        "another architecture",
        "it admits nothing",
        "it wants memory back",
    ],
)
def test_a_worker_can_take_an_instance_if_it_has_room_runtime_and_time(candidate, can):
    assert feasible(NEED, candidate) is can
    assert placed(candidate) == ("w" if can else None)


@pytest.mark.parametrize(
    ("need", "candidate", "can"),
    [
        ({"vcpus": 1.5}, worker(vcpus=8, free_vcpus=1.5), True),
        ({"vcpus": 1.5}, worker(vcpus=8, free_vcpus=1.4), False),
        ({"vcpus": 1.5}, worker(), True),
        ({"disk_mib": 10}, worker(free_disk_mib=10), True),
        ({"disk_mib": 10}, worker(free_disk_mib=9), False),
        ({"disk_mib": 10}, worker(free_disk_mib=0, warm_code=frozenset({"abc"})), True),
        ({"isolation": "process"}, worker(), True),
        ({"isolation": "microvm"}, worker(), False),
        ({"isolation": "process"}, worker(isolation=Isolation("microvm", frozenset())), True),
        ({"isolation": "process"}, worker(isolation=Isolation("none", frozenset())), False),
        (
            {"isolation": "process"},
            worker(isolation=Isolation("process", frozenset(), {Layer.SECCOMP: "refused"})),
            False,
        ),
        ({"isolation": "unheard of"}, worker(), False),
        ({}, worker(isolation=Isolation("none", frozenset())), True),
    ],
)
def test_processors_disk_and_isolation_count_as_memory_does(need, candidate, can):
    assert feasible(dataclasses.replace(NEED, **need), candidate) is can
    assert placed(candidate, **need) == ("w" if can else None)


def test_shares_of_processors_that_add_up_to_all_of_them_all_fit():
    planner = planner_of(worker(free=4096, vcpus=0.3, free_vcpus=0.3))
    need = dataclasses.replace(NEED, vcpus=0.1)
    assert [planner.place(need) for _ in range(4)] == ["w", "w", "w", None]


def test_without_a_feasible_worker_there_is_no_place():
    assert placed() is None
    assert placed(worker(free=1)) is None


# ---------------------------------------------------------------- the ranking


def test_a_worker_that_has_the_template_comes_before_one_that_has_the_code():
    template = worker("t", free=4096, templates=frozenset({"arn:1"}))
    warm = worker("c", free=256, warm_code=frozenset({"abc"}))
    assert placed(warm, template, template="arn:1") == "t"


def test_a_worker_that_has_the_code_comes_before_a_tight_one():
    warm = worker("warm", free=4096, warm_code=frozenset({"abc"}))
    assert placed(worker("tight", free=128), warm) == "warm"


def test_the_second_instance_of_a_version_is_not_where_the_first_is_whatever_is_there():
    first = worker("a", templates=frozenset({"arn:1"}), warm_code=frozenset({"abc"}))
    assert placed(first, worker("b"), template="arn:1", beside={"a": 1}) == "b"
    assert placed(first, worker("b", free=1), template="arn:1", beside={"a": 1}) == "a"


def test_from_the_third_on_those_that_have_the_code_come_first():
    workers = [worker(name, warm_code=frozenset({"abc"})) for name in "ab"]
    assert placed(*workers, worker("c"), beside={"a": 2, "b": 1}) == "b"


def test_instances_are_spread_over_zones_then_over_workers():
    one = [worker("a1", zone="a"), worker("a2", zone="a")]
    other = [worker("b1", free=4096, zone="b")]
    assert placed(*one, *other, beside={"a1": 1, "a2": 1}) == "b1"
    assert placed(*one, *other, beside={"a1": 1, "b1": 1}) == "a2"


def test_a_worker_where_less_waits_comes_before_a_tighter_one():
    strained = worker("s", free=128, pressure=Pressure(cpu_stalled=0.5))
    assert placed(strained, worker("calm", free=4096)) == "calm"
    giving_back = worker("g", free=128, pressure=Pressure(reclaim_mib=64))
    assert placed(strained, giving_back) == "s"


def test_a_small_difference_of_strain_does_not_spoil_the_packing():
    tight = worker("tight", free=128, pressure=Pressure(cpu_stalled=0.09))
    assert placed(tight, worker("wide", free=4096)) == "tight"


def test_the_least_room_that_suffices_comes_next():
    workers = [worker("wide", free=4096), worker("tight", free=256), worker("full", free=1)]
    assert placed(*workers) == "tight"


def test_room_is_what_is_left_of_whichever_is_scarcer():
    memory = worker("memory", free=4096, vcpus=16, free_vcpus=0.2)
    processors = worker("processors", free=1024, vcpus=16, free_vcpus=16)
    assert placed(memory, processors, vcpus=0.1) == "memory"


# ---------------------------------------------------------------- what is known


def test_what_has_been_placed_counts_until_the_next_status():
    planner = planner_of(worker(free=128))
    assert (planner.place(NEED), planner.place(NEED)) == ("w", None)
    planner.observe(worker(free=128))
    assert planner.place(NEED) == "w"


def test_a_worker_that_is_gone_or_drains_gets_nothing_and_may_come_back():
    planner = planner_of(worker("a"), worker("b", free=4096))
    planner.forget("a")
    planner.forget("never seen")
    assert planner.place(NEED) == "b"
    planner.observe(worker("b", draining=True))
    assert planner.place(NEED) is None
    planner.observe(worker("a"))
    assert planner.place(NEED) == "a"


def test_a_refusal_says_why_of_every_worker_the_commonest_reason_first():
    pressed = worker("p", pressure=Pressure(admits=False, reason="97 % of its memory is used"))
    planner = planner_of(
        worker("a", free=1),
        worker("b", free=2),
        pressed,
        worker("d", draining=True),
        worker("n", runtimes=frozenset()),
    )
    assert [str(refusal) for refusal in planner.explain(NEED)] == [
        "2 workers: less than 128 MB free",
        "1 worker: draining",
        "1 worker: no python3.11",
        "1 worker: under pressure: 97 % of its memory is used",
    ]


def test_a_refusal_says_whether_waiting_could_change_it():
    needs = [NEED, dataclasses.replace(NEED, memory_mib=4097), dataclasses.replace(NEED, vcpus=9)]
    planner = planner_of(worker(free=1, vcpus=8, free_vcpus=0))
    assert [planner.explain(need)[0].lasting for need in needs] == [False, True, True]


def test_where_there_is_room_there_is_nothing_to_explain():
    assert planner_of(worker()).explain(NEED) == []


def test_a_worker_whose_processors_are_not_counted_has_any_number_of_them():
    assert placed(worker(), vcpus=UNLIMITED_VCPUS / 2) == "w"
