"""What happens to functions is counted, within bounds."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from samovar.manager.tally import Tally
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.invocation import ColdCause
from tests.contract.samples import function_id

MAX = 3
THROTTLED = PlatformError(
    ErrorCode.TOO_MANY_REQUESTS, "Rate Exceeded.", ThrottleReason.ACCOUNT_CONCURRENCY
)
BROKEN = PlatformError(ErrorCode.SERVICE, "It is no refusal.")
functions = st.sampled_from([function_id(name) for name in "abcde"])


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens, in any order."""

    def __init__(self):
        super().__init__()
        self.tally = Tally(MAX)
        self.before = {}
        self.happened = self.lost = 0

    @rule(function=functions, cause=st.sampled_from(ColdCause))
    def started(self, function, cause):
        self.tally.started(function, cause)
        self.happened += 1

    @rule(function=functions)
    def something_else(self, function):
        self.tally.start_failed(function)
        self.tally.refused(function, THROTTLED)
        self.tally.refused(function, BROKEN)
        self.tally.evicted(function)
        self.happened += 3

    @rule(function=functions)
    def forget(self, function):
        self.lost += _sum(self.tally.counts()[function]) if function in self.tally.counts() else 0
        self.tally.forget(function)
        self.before.pop(function, None)

    @rule(function=functions)
    def begin(self, function):
        self.tally.begin(function)

    @invariant()
    def nothing_is_lost_and_no_count_falls(self):
        counts = dict(self.tally.counts())
        assert len(counts) <= MAX
        counts[None] = self.tally.other_counts()
        sums = {function: _sum(one) for function, one in counts.items()}
        assert sum(sums.values()) + self.lost == self.happened
        kept = [(sums[one], count) for one, count in self.before.items() if one in sums]
        assert all(now >= before for now, before in kept), "others grow, too"
        self.before = sums


def _sum(counts):
    return (
        sum(counts.cold_starts.values())
        + counts.failed_starts
        + sum(counts.throttles.values())
        + counts.evictions
    )


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=30, deadline=None)


def test_the_function_that_nothing_has_happened_to_for_longest_joins_the_others():
    tally = Tally(2)
    for name in ("a", "b", "a", "c"):
        tally.evicted(function_id(name))
    assert set(tally.counts()) == {function_id("a"), function_id("c")}
    assert tally.other_counts().evictions == 1


def test_what_still_comes_of_a_deleted_function_does_not_bring_it_back():
    tally, function = Tally(2), function_id("a")
    tally.started(function, ColdCause.FIRST)
    tally.forget(function)
    tally.started(function, ColdCause.FIRST)
    assert not tally.counts()
    assert _sum(tally.other_counts()) == 1
    tally.begin(function)
    tally.started(function, ColdCause.FIRST)
    assert set(tally.counts()) == {function}
