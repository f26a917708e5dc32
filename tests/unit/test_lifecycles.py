"""The transition tables: what is in them is allowed, everything else is refused."""

from __future__ import annotations

import itertools

import pytest

from samovar.model.event import EVENT_MOVES, EventState
from samovar.model.function import UPDATE_MOVES, VERSION_MOVES, State, UpdateStatus
from samovar.model.instance import INSTANCE_MOVES, IllegalMoveError, InstanceState, move

I, S, U = InstanceState, State, UpdateStatus  # noqa: E741 - tables are read, not spelled

LEGAL_INSTANCE_MOVES = {
    (I.STARTING, I.IDLE),
    (I.STARTING, I.STOPPING),
    (I.STARTING, I.GONE),
    (I.IDLE, I.BUSY),
    (I.IDLE, I.STOPPING),
    (I.IDLE, I.GONE),
    (I.BUSY, I.IDLE),
    (I.BUSY, I.STOPPING),
    (I.BUSY, I.GONE),
    (I.STOPPING, I.GONE),
}


@pytest.mark.parametrize(("old", "new"), sorted(LEGAL_INSTANCE_MOVES))
def test_an_instance_makes_every_move_of_its_picture(old, new):
    assert move(old, new) is new


@pytest.mark.parametrize(
    ("old", "new"), sorted(set(itertools.product(I, I)) - LEGAL_INSTANCE_MOVES)
)
def test_an_instance_makes_no_other_move(old, new):
    with pytest.raises(IllegalMoveError, match=f"from {old} to {new}"):
        move(old, new)


def test_the_end_of_an_instance_is_final():
    assert INSTANCE_MOVES[I.GONE] == frozenset()


def test_every_state_of_an_instance_leads_to_its_end():
    for state in set(I) - {I.GONE}:
        assert I.GONE in INSTANCE_MOVES[state]


LEGAL_VERSION_MOVES = {
    (S.PENDING, S.ACTIVE),
    (S.PENDING, S.FAILED),
    (S.FAILED, S.PENDING),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(S, S)))
def test_a_version_moves_as_its_table_says(old, new):
    assert (new in VERSION_MOVES[old]) == ((old, new) in LEGAL_VERSION_MOVES)


LEGAL_UPDATE_MOVES = {
    (U.IN_PROGRESS, U.SUCCESSFUL),
    (U.IN_PROGRESS, U.FAILED),
    (U.SUCCESSFUL, U.IN_PROGRESS),
    (U.FAILED, U.IN_PROGRESS),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(U, U)))
def test_an_update_moves_as_its_table_says(old, new):
    assert (new in UPDATE_MOVES[old]) == ((old, new) in LEGAL_UPDATE_MOVES)


@pytest.mark.parametrize(
    ("states", "table"),
    [(I, INSTANCE_MOVES), (S, VERSION_MOVES), (U, UPDATE_MOVES), (EventState, EVENT_MOVES)],
)
def test_every_state_has_a_row(states, table):
    assert set(table) == set(states)
