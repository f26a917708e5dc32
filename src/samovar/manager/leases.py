"""What the manager keeps of a request that has an instance."""

from __future__ import annotations

from typing import NamedTuple

from samovar.manager.instances import Origin
from samovar.manager.pool import Pool
from samovar.model.instance import InstanceId
from samovar.model.invocation import StartReport


class Granted(NamedTuple):
    """What a request that has waited gets."""

    instance: InstanceId
    origin: Origin
    at: float
    report: StartReport | None
    provisioned: bool


class Held(NamedTuple):
    """What a lease stands for."""

    instance: InstanceId
    pool: Pool
    on_demand: bool
    """It counts against the limits."""
