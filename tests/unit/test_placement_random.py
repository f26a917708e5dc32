"""The index against looking at every worker: the same answer, whatever has happened before."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from samovar.model.isolation import Isolation, Layer
from samovar.placement.feasible import disk_mib, feasible
from samovar.placement.planner import Planner
from samovar.placement.rank import rank
from samovar.ports import Need, Pressure, WorkerStatus

NAMES = [f"w{number:02}" for number in range(30)]
CODES = ["c1", "c2", "c3"]
ISOLATIONS = [
    Isolation("process", frozenset(Layer)),
    Isolation("process", frozenset(), {Layer.SECCOMP: "refused"}),
    Isolation("none", frozenset()),
]
VCPUS = st.sampled_from([1e9, 0.5, 1.0, 2.0])


@st.composite
def statuses(draw):
    memory_mib, vcpus = draw(st.integers(0, 8)) * 128, draw(VCPUS)
    return WorkerStatus(
        id=draw(st.sampled_from(NAMES)),
        memory_mib=memory_mib,
        free_memory_mib=draw(st.integers(0, memory_mib)),
        isolation=draw(st.sampled_from(ISOLATIONS)),
        runtimes=frozenset(draw(st.sampled_from([("python3.11",), ("python3.11", "nodejs20.x")]))),
        warm_code=frozenset(draw(st.sets(st.sampled_from(CODES)))),
        templates=frozenset(draw(st.sets(st.sampled_from(["t1", "t2"])))),
        draining=draw(st.sampled_from([False, False, False, True])),
        vcpus=vcpus,
        free_vcpus=vcpus * draw(st.integers(0, 4)) / 4,
        disk_mib=100,
        free_disk_mib=draw(st.sampled_from([0, 10, 100])),
        architecture=draw(st.sampled_from(["x86_64", "x86_64", "arm64"])),
        zone=draw(st.sampled_from(["", "a", "b"])),
        pressure=Pressure(
            cpu_stalled=draw(st.sampled_from([0.0, 0.05, 0.2, 0.9])),
            admits=draw(st.sampled_from([True, True, True, False])),
        ),
    )


needs = st.builds(
    Need,
    runtime=st.sampled_from(["python3.11", "nodejs20.x", "ruby3.3"]),
    memory_mib=st.sampled_from([64, 128, 512, 2048]),
    code_sha256=st.sampled_from(CODES),
    vcpus=st.sampled_from([0.0, 0.25, 1.0]),
    disk_mib=st.sampled_from([0, 5, 50]),
    architecture=st.sampled_from(["x86_64", "x86_64", "arm64"]),
    isolation=st.sampled_from(["", "", "none", "process", "microvm"]),
    template=st.sampled_from(["", "t1", "t2"]),
    beside=st.dictionaries(st.sampled_from([*NAMES, "unknown"]), st.integers(1, 3)),
)


def best_of_all(need, workers):
    """What filtering and ranking every worker says."""
    in_zone: dict[str, int] = {}
    for name, count in need.beside.items():
        if name in workers:
            zone = workers[name].zone
            in_zone[zone] = in_zone.get(zone, 0) + count
    able = [rank(need, one, in_zone) for one in workers.values() if feasible(need, one)]
    return min(able).id if able else None


class AnyOrder(RuleBasedStateMachine):
    """Statuses, departures and placements, as they come."""

    def __init__(self):
        super().__init__()
        self.planner = Planner()
        self.workers: dict[str, WorkerStatus] = {}

    @initialize(few=st.sampled_from([0, 100]))
    def look_at_some_one_by_one(self, few):
        self.planner = Planner(few)

    @rule(status=statuses())
    def observe(self, status):
        self.planner.observe(status)
        self.workers[status.id] = status

    @rule(many=st.lists(statuses(), min_size=10, max_size=30))
    def observe_many(self, many):
        for status in many:
            self.observe(status)

    @rule(name=st.sampled_from(NAMES))
    def forget(self, name):
        self.planner.forget(name)
        self.workers.pop(name, None)

    @rule(need=needs)
    def place(self, need):
        expected = best_of_all(need, self.workers)
        assert self.planner.place(need) == expected
        if expected is None:
            return
        had = self.workers[expected]
        self.workers[expected] = dataclasses.replace(
            had,
            free_memory_mib=had.free_memory_mib - need.memory_mib,
            free_vcpus=had.free_vcpus - need.vcpus,
            free_disk_mib=had.free_disk_mib - disk_mib(need, had),
        )

    @rule(need=needs)
    def explain(self, need):
        refused = sum(refusal.workers for refusal in self.planner.explain(need))
        assert refused == sum(not feasible(need, one) for one in self.workers.values())

    @invariant()
    def it_knows_what_is_left_and_never_gives_more_than_there_is(self):
        known = self.planner.workers()
        assert known == [self.workers[name] for name in sorted(self.workers)]
        for one in known:
            assert min(one.free_memory_mib, one.free_vcpus, one.free_disk_mib) >= 0


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)


@given(
    many=st.lists(statuses(), unique_by=lambda status: status.id, min_size=5),
    need=needs,
    order=st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_the_choice_is_the_same_in_whatever_order_statuses_came(many, need, order):
    def placed():
        planner = Planner()
        for status in many:
            planner.observe(status)
        return planner.place(need)

    chosen = placed()
    order.shuffle(many)
    assert placed() == chosen


@given(many=st.lists(statuses(), unique_by=lambda status: status.id), replaced=st.booleans())
@settings(deadline=None)
def test_an_index_that_everybody_has_left_is_empty(many, replaced):
    planner = Planner()
    for status in many:
        planner.observe(status)
        if replaced:
            planner.observe(dataclasses.replace(status, warm_code=frozenset(), draining=False))
    for status in many:
        planner.forget(status.id)
    fleet = planner._fleet
    assert not any((fleet.spots, fleet.groups, fleet._with_code, fleet._with_template))
