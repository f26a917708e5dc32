"""Admission: promises of memory and of processors."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from samovar.worker.slots import Slots

names = st.sampled_from("abcd")


class SlotsMachine(RuleBasedStateMachine):
    """Takes and gives back in any order."""

    def __init__(self):
        super().__init__()
        self.slots = Slots(100, 1.0)
        self.taken = {}

    @rule(name=names, memory=st.integers(1, 120), tenths=st.integers(0, 11))
    def take(self, name, memory, tenths):
        if name in self.taken:  # an instance takes its slot once
            return
        fits = memory <= 100 - self.sum_of(0) and tenths <= 10 - self.sum_of(1)
        assert (self.slots.shortage(memory, tenths / 10) is None) is fits
        assert self.slots.take(name, memory, tenths / 10) is fits
        if fits:
            self.taken[name] = (memory, tenths)

    @rule(name=names)
    def give_back(self, name):
        self.slots.give_back(name)
        self.taken.pop(name, None)

    @invariant()
    def what_is_free_is_what_is_not_taken(self):
        assert self.slots.free_memory_mib == 100 - self.sum_of(0) >= 0
        assert 0 <= self.slots.free_vcpus == pytest.approx(1 - self.sum_of(1) / 10)
        assert self.slots.promised_memory_mib == self.sum_of(0)

    def sum_of(self, part):
        return sum(promise[part] for promise in self.taken.values())


TestSlots = SlotsMachine.TestCase
TestSlots.settings = settings(max_examples=30, deadline=None)


def test_a_refusal_says_what_there_is_too_little_of():
    slots = Slots(1024, 2.0)
    slots.take("a", 1000, 1.75)
    assert slots.shortage(128, 0.1) == "24 of the 1024 MB that it may promise left"
    assert slots.shortage(24, 0.5) == "0.25 of the 2.00 vCPUs that it may promise left"


def test_with_nothing_promised_all_of_the_processors_are_there_again():
    slots = Slots(1024, 0.3)
    for name in ("a", "b", "c"):
        assert slots.take(name, 1, 0.1)
    for name in ("b", "a", "c"):
        slots.give_back(name)
    assert slots.free_vcpus == 0.3
