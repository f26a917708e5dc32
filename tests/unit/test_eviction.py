"""Which idle instances make room: by worth, by age across policies, and only where it helps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from samovar.manager.eviction import REFRESHED, Eviction
from samovar.manager.keep_alive import Ages
from samovar.manager.needs import need_of
from samovar.manager.policies.fixed import FixedTimeout
from samovar.manager.pool import Pool
from samovar.model.function import CodeRef
from samovar.model.invocation import ColdCause
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import ScriptedWorker


class Worth(FixedTimeout):
    """A policy that is told what instances of an age are worth."""

    def __init__(self, of_age):
        super().__init__(1e9)
        self._of_age = of_age

    def plan(self, now):
        return (Ages(0.0, 1e9),)

    def worth(self, now, idle_since):
        return self._of_age(now - idle_since)


def code(name, mib=0):
    return CodeRef(name.encode().hex().ljust(64, "0"), 1, mib << 20)


class Idle:
    """Instances that are idle, each alone on a worker of its size unless told otherwise."""

    def __init__(self):
        self.eviction = Eviction()
        self.workers = {}

    def add(self, name, keep, now=0.0, worker=None, code_mib=0, memory_mib=128):
        version = a_version(function_id(name), memory_mib=memory_mib)
        pool = Pool(replace(version, code=code(name, code_mib)), keep)
        pool.request(1)
        pool.cancel(1)
        pool.started(name, ColdCause.FIRST, now)
        scripted = self.workers.setdefault(worker or name, ScriptedWorker(0, worker or name))
        scripted.alive[name] = version
        scripted.memory_mib += memory_mib
        self.eviction.add(name, worker or name, pool, now)

    def victims(self, now, code_mib=0, **status):
        version = a_version(function_id("new"), memory_mib=128)
        need = need_of(Pool(replace(version, code=code("new", code_mib)), FixedTimeout(1.0)))
        told = {name: replace(one.status(), **status) for name, one in self.workers.items()}
        return [victim.instance for victim in self.eviction.victims(need, told, now)]


@pytest.fixture
def idle():
    return Idle()


def test_what_is_worth_less_with_its_age_goes_before_what_stays(idle):
    idle.add("falls", Worth(lambda age_s: 5.0 / (1.0 + age_s)))
    idle.add("stays", Worth(lambda _: 1.0))
    assert idle.victims(1000.0) == ["falls"]


def test_however_many_there_are_what_falls_is_found_by_and_by(idle):
    for number in range(10 * REFRESHED):
        idle.add(f"stays-{number}", Worth(lambda _: 1.0))
    idle.add("falls", Worth(lambda age_s: 5.0 / (1.0 + age_s)))
    found = [idle.victims(1000.0) for _ in range(11)]
    assert found[0] != ["falls"]
    assert found[-1] == ["falls"]


def test_policies_do_not_outbid_each_other_the_longest_idle_of_their_cheapest_goes(idle):
    idle.add("fixed, first", FixedTimeout(600.0), now=100.0)
    idle.add("other, dear", Worth(lambda _: 2e-3), now=50.0)
    idle.add("other, cheap", Worth(lambda _: 1e-3), now=200.0)
    idle.add("fixed, last", FixedTimeout(600.0), now=300.0)
    going = []
    while idle.workers:
        going += idle.victims(1000.0)
        idle.eviction.remove(going[-1])
        del idle.workers[going[-1]]
    assert going == ["fixed, first", "other, cheap", "other, dear", "fixed, last"]


def test_on_one_worker_the_same_ones_go_first(idle):
    idle.add("fixed, first", FixedTimeout(600.0), now=100.0, worker="w")
    idle.add("other, dear", Worth(lambda _: 2e-3), now=50.0, worker="w")
    idle.add("other, cheap", Worth(lambda _: 1e-3), now=200.0, worker="w")
    order = [victim.instance for victim in idle.eviction.idle_on("w", 1000.0)]
    assert order == ["fixed, first", "other, cheap", "other, dear"]


def test_memory_that_would_come_free_is_of_no_use_where_the_disk_is_full(idle):
    for number in range(20):
        idle.add(f"idle-{number}", FixedTimeout(600.0), worker="w")
    assert idle.victims(1.0, code_mib=100, disk_mib=1000, free_disk_mib=10) == []
    assert idle.victims(1.0, code_mib=10, disk_mib=1000, free_disk_mib=10) == ["idle-0"]


def test_the_disk_has_room_once_the_last_one_of_a_package_has_gone(idle):
    idle.add("small", FixedTimeout(600.0), now=1.0, worker="w", code_mib=1)
    idle.add("large", FixedTimeout(600.0), now=2.0, worker="w", code_mib=90)
    idle.add("other", FixedTimeout(600.0), now=3.0, worker="w", code_mib=90)
    assert idle.victims(9.0, code_mib=100, disk_mib=1000, free_disk_mib=10) == ["small", "large"]
