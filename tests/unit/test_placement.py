"""Where an instance goes: the filter, then the ranking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.model.isolation import Isolation
from samovar.placement.feasible import feasible
from samovar.placement.planner import Planner
from samovar.ports import Need, WorkerStatus

NEED = Need(runtime="python3.11", memory_mib=128, code_sha256="abc")


def worker(name="w", free=1024, **changes):
    settings = {
        "id": name,
        "memory_mib": 4096,
        "free_memory_mib": free,
        "isolation": Isolation("fake", frozenset()),
        "runtimes": frozenset({"python3.11"}),
    }
    return WorkerStatus(**{**settings, **changes})


def placed(workers):
    planner = Planner()
    for status in workers:
        planner.observe(status)
    return planner.place(NEED)


@pytest.mark.parametrize(
    ("candidate", "can"),
    [
        (worker(free=128), True),
        (worker(free=127), False),
        (worker(draining=True), False),
        (worker(runtimes=frozenset({"python3.12"})), False),
    ],
    ids=["just room", "too little room", "draining", "another runtime"],
)
def test_a_worker_can_take_an_instance_if_it_has_room_runtime_and_time(candidate, can):
    assert feasible(NEED, candidate) is can


def test_without_a_feasible_worker_there_is_no_place():
    assert placed([]) is None
    assert placed([worker(free=1)]) is None


def test_a_worker_that_has_the_code_comes_first():
    warm = worker("warm", free=4096, warm_code=frozenset({"abc"}))
    assert placed([worker("tight", free=128), warm]) == "warm"


def test_the_least_room_that_suffices_comes_next():
    workers = [worker("wide", free=4096), worker("tight", free=256), worker("full", free=1)]
    assert placed(workers) == "tight"


workers = st.lists(
    st.builds(
        worker,
        st.sampled_from("abcdef"),
        st.integers(0, 300),
        warm_code=st.sampled_from([frozenset(), frozenset({"abc"})]),
        draining=st.booleans(),
    ),
    unique_by=lambda status: status.id,
)


@given(workers=workers, order=st.randoms())
def test_the_choice_is_feasible_and_the_same_in_any_order(workers, order):
    chosen = placed(workers)
    able = {status.id for status in workers if feasible(NEED, status)}
    assert chosen in able or (chosen is None and not able)
    order.shuffle(workers)
    assert placed(workers) == chosen
