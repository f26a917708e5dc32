"""How many instances of a function version there must be, and may be.

https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from samovar.model.function import FunctionId


@dataclass(frozen=True, slots=True)
class Scale:
    """What is asked for of one version."""

    provisioned: int = 0
    """Requests at once for which there are instances initialised beforehand; they count against
    the function's, or the account's, concurrency, used or not."""
    min_instances: int = 0
    max_instances: int | None = None
    """None: as many as the limits allow."""


@dataclass(frozen=True, slots=True)
class ScaleRule:
    """What a client asked for of one version, or of whichever versions an alias stands for."""

    function: FunctionId
    qualifier: str
    last_modified: dt.datetime
    provisioned: int | None = None
    """Provisioned concurrency: of an alias, shared out by its weights. None: nothing was said."""
    min_instances: int | None = None
    max_instances: int | None = None


class ProvisionedStatus(StrEnum):
    """AWS's names."""

    IN_PROGRESS = "IN_PROGRESS"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Provisioned:
    """How far provisioned concurrency has come, counted now."""

    requested: int
    allocated: int
    """Instances that are initialised for it."""
    available: int
    """Those of them that could take a request now."""
    status: ProvisionedStatus
    reason: str | None = None
    """Why it failed."""
