"""Who may have how many requests at once."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from samovar.manager.limits import UNRESERVED_MINIMUM, ConcurrencyLedger
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from tests.contract.samples import function_id

A, B, C = function_id("a"), function_id("b"), function_id("c")


def refusal(ledger, function):
    """Why a request is refused; None where it was admitted."""
    try:
        ledger.admit(function)
    except PlatformError as error:
        assert error.code is ErrorCode.TOO_MANY_REQUESTS
        return error.reason
    return None


def test_a_function_may_use_what_is_reserved_for_it_and_no_more():
    ledger = ConcurrencyLedger(1000, {A: 2})
    assert refusal(ledger, A) is None
    assert refusal(ledger, A) is None
    assert refusal(ledger, A) == ThrottleReason.RESERVED_CONCURRENCY


def test_a_reservation_of_zero_refuses_everything():
    assert refusal(ConcurrencyLedger(1000, {A: 0}), A) == ThrottleReason.RESERVED_CONCURRENCY


def test_what_is_reserved_is_taken_from_what_the_others_share():
    ledger = ConcurrencyLedger(3, {A: 2})
    assert refusal(ledger, B) is None
    assert refusal(ledger, C) == ThrottleReason.ACCOUNT_CONCURRENCY
    assert refusal(ledger, A) is None


def test_an_answered_request_makes_room_for_the_next():
    ledger = ConcurrencyLedger(1, {})
    ledger.admit(A)
    ledger.done(A)
    assert refusal(ledger, B) is None


def test_a_refused_request_is_not_counted():
    ledger = ConcurrencyLedger(1000, {A: 1})
    ledger.admit(A)
    refusal(ledger, A)
    assert ledger.in_use(A) == 1
    ledger.done(A)
    assert (ledger.in_use(A), ledger.total_in_use) == (0, 0)


def test_a_reservation_below_what_is_in_flight_lets_that_finish_and_admits_nothing_new():
    ledger = ConcurrencyLedger(1000, {})
    for _ in range(3):
        ledger.admit(A)
    ledger.reserve(A, 1)
    ledger.done(A)
    ledger.done(A)
    assert refusal(ledger, A) == ThrottleReason.RESERVED_CONCURRENCY
    ledger.done(A)
    assert refusal(ledger, A) is None


def test_what_was_just_reserved_does_not_take_the_account_over_its_limit():
    ledger = ConcurrencyLedger(4, {})
    for _ in range(4):
        ledger.admit(B)
    ledger.reserve(A, 2)
    assert refusal(ledger, A) == ThrottleReason.ACCOUNT_CONCURRENCY
    ledger.done(B)
    assert refusal(ledger, A) is None


def test_requests_in_flight_move_into_a_reservation_and_out_of_it():
    ledger = ConcurrencyLedger(3, {})
    ledger.admit(A)
    ledger.reserve(A, 1)
    assert refusal(ledger, B) is None
    assert refusal(ledger, B) is None
    ledger.reserve(A, None)
    assert refusal(ledger, C) == ThrottleReason.ACCOUNT_CONCURRENCY
    ledger.done(A)
    assert refusal(ledger, C) is None


def test_reservations_over_the_account_limit_refuse_only_what_would_exceed_it():
    ledger = ConcurrencyLedger(2, {A: 5})  # the limit was lowered since
    assert refusal(ledger, B) == ThrottleReason.ACCOUNT_CONCURRENCY
    assert [refusal(ledger, A) for _ in range(3)] == [
        None,
        None,
        ThrottleReason.ACCOUNT_CONCURRENCY,
    ]


def test_a_reservation_must_leave_the_others_their_minimum():
    ledger = ConcurrencyLedger(1000, {B: 500})
    ledger.check_reservation(A, 500 - UNRESERVED_MINIMUM)
    with pytest.raises(PlatformError, match=r"below its minimum value of \[100\]") as refused:
        ledger.check_reservation(A, 501 - UNRESERVED_MINIMUM)
    assert refused.value.code is ErrorCode.INVALID_PARAMETER


def test_a_functions_own_old_reservation_does_not_count_against_its_new_one():
    ConcurrencyLedger(1000, {A: 900}).check_reservation(A, 900)


def test_a_reservation_of_zero_is_always_possible():
    ConcurrencyLedger(10, {}).check_reservation(A, 0)


class LedgerMachine(RuleBasedStateMachine):
    """Requests and reservations in any order, against a count kept the slow way."""

    functions = st.sampled_from([A, B, C])
    ACCOUNT = 6

    def __init__(self):
        super().__init__()
        self.ledger = ConcurrencyLedger(self.ACCOUNT, {})
        self.flying = []
        self.reserved = {}

    @rule(function=functions)
    def admit(self, function):
        mine = self.flying.count(function)
        shared = sum(other not in self.reserved for other in self.flying)
        reason = refusal(self.ledger, function)
        if reason is None:
            self.flying.append(function)
            assert len(self.flying) <= self.ACCOUNT
            if function in self.reserved:
                assert mine < self.reserved[function]
            else:
                assert shared < self.ACCOUNT - sum(self.reserved.values())
        elif reason == ThrottleReason.RESERVED_CONCURRENCY:
            assert mine >= self.reserved[function]
        else:
            full = len(self.flying) >= self.ACCOUNT
            assert full or shared >= self.ACCOUNT - sum(self.reserved.values())

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def answer(self, data):
        function = data.draw(st.sampled_from(self.flying))
        self.flying.remove(function)
        self.ledger.done(function)

    @rule(function=functions, limit=st.none() | st.integers(0, 4))
    def reserve(self, function, limit):
        self.ledger.reserve(function, limit)
        self.reserved.pop(function, None)
        if limit is not None:
            self.reserved[function] = limit

    @invariant()
    def counts_are_what_is_in_flight(self):
        assert self.ledger.total_in_use == len(self.flying)
        for function in (A, B, C):
            assert self.ledger.in_use(function) == self.flying.count(function)
        assert self.ledger.unreserved_limit == self.ACCOUNT - sum(self.reserved.values())

    def teardown(self):
        for function in self.flying:
            self.ledger.done(function)
        for function in list(self.reserved):
            self.ledger.reserve(function, None)
        # Nothing is left over: the whole account can be used again, and no more.
        assert [refusal(self.ledger, A) for _ in range(self.ACCOUNT + 1)] == [
            *[None] * self.ACCOUNT,
            ThrottleReason.ACCOUNT_CONCURRENCY,
        ]


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_what_runs_in_provisioned_instances_counts_when_less_is_provisioned():
    ledger = ConcurrencyLedger(1000, {A: 2})
    ledger.provision(A, "1", 2)
    ledger.occupy(A, "1")
    ledger.occupy(A, "1")
    ledger.provision(A, "1", 0)
    with pytest.raises(PlatformError):
        ledger.admit(A)
    ledger.vacate(A, "1")
    ledger.admit(A)
    ledger.vacate(A, "1")
    ledger.admit(A)
    assert (ledger.provisioned(A), ledger.in_use(A)) == (0, 2)
