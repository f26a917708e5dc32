"""An instance: one isolated place in which one function version runs, one request at a
time, or as many as the version says.

    starting ──▶ idle ⇄ busy
        │         │      │
        └─────────┴──────┴──▶ stopping ──▶ gone

It is *starting* from the moment the manager asks a worker for it until its init phase has
ended, *idle* when nothing runs in it, *busy* while it holds a request or several, *stopping* from
the decision to end it until the worker says that nothing of it is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NewType

InstanceId = NewType("InstanceId", str)
WorkerId = NewType("WorkerId", str)


class Initialization(StrEnum):
    """Why an instance was initialised: the value of AWS_LAMBDA_INITIALIZATION_TYPE."""

    ON_DEMAND = "on-demand"
    PROVISIONED = "provisioned-concurrency"
    SNAP_START = "snap-start"
    MANAGED = "lambda-managed-instances"


class InstanceState(StrEnum):
    """See the module's picture; `INSTANCE_MOVES` is the transition table."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    STOPPING = "stopping"
    GONE = "gone"


INSTANCE_MOVES: Mapping[InstanceState, frozenset[InstanceState]] = {
    InstanceState.STARTING: frozenset(
        {InstanceState.IDLE, InstanceState.STOPPING, InstanceState.GONE}
    ),
    InstanceState.IDLE: frozenset({InstanceState.BUSY, InstanceState.STOPPING, InstanceState.GONE}),
    InstanceState.BUSY: frozenset({InstanceState.IDLE, InstanceState.STOPPING, InstanceState.GONE}),
    InstanceState.STOPPING: frozenset({InstanceState.GONE}),
    InstanceState.GONE: frozenset(),
}


class IllegalMoveError(Exception):
    """A transition that its table does not have: a defect of ours, never of a client."""


def move(old: InstanceState, new: InstanceState) -> InstanceState:
    """Return `new` if an instance may go there from `old`, else raise `IllegalMoveError`."""
    if new not in INSTANCE_MOVES[old]:
        raise IllegalMoveError(f"an instance cannot go from {old} to {new}")
    return new
