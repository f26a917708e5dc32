"""What pools decide, for the manager to perform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from samovar.model.instance import InstanceId
from samovar.model.invocation import ColdCause

Ticket = NewType("Ticket", int)
"""A request that waits. The older one has the smaller number."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Give the instance to the request."""

    ticket: Ticket
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer the request with the error that ended the instance that it waited for."""

    ticket: Ticket
    error: Exception


@dataclass(frozen=True, slots=True)
class Start:
    """Start an instance; `cause` says why one is needed."""

    cause: ColdCause


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop an instance."""

    instance: InstanceId


Action = Grant | Reject | Start | Stop
