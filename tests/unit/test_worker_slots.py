"""Admission: promises of memory."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from samovar.worker.slots import Slots

names = st.sampled_from("abcd")


class SlotsMachine(RuleBasedStateMachine):
    """Takes and gives back in any order."""

    def __init__(self):
        super().__init__()
        self.slots = Slots(100)
        self.taken = {}

    @rule(name=names, memory=st.integers(1, 120))
    def take(self, name, memory):
        if name not in self.taken:  # an instance takes its slot once
            fits = memory <= 100 - sum(self.taken.values())
            assert self.slots.take(name, memory) is fits
            if fits:
                self.taken[name] = memory

    @rule(name=names)
    def give_back(self, name):
        self.slots.give_back(name)
        self.taken.pop(name, None)

    @invariant()
    def what_is_free_is_what_is_not_taken(self):
        assert self.slots.free_mib == 100 - sum(self.taken.values()) >= 0


TestSlots = SlotsMachine.TestCase
TestSlots.settings = settings(max_examples=30, deadline=None)
