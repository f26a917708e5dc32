"""What the control-plane operations work with."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from samovar.clock import Clock
from samovar.frontend.auth import Caller
from samovar.frontend.catalog import Catalog
from samovar.frontend.deployments import Deployments
from samovar.frontend.function_tags import FunctionTags
from samovar.frontend.scaling import Scaling
from samovar.model.function import FunctionId
from samovar.ports import (
    CodeStore,
    EventSources,
    EventSourceStore,
    FunctionStore,
    InvocationRuleStore,
    LayerStore,
    LogStore,
    Manager,
    PackageInspector,
)

Params = Mapping[str, Any]
"""A request's members, parsed and validated from the service model."""

Result = dict[str, Any]
"""A response's members."""

Handler = Callable[[Caller, Params], Awaitable[Result]]


def now_utc() -> dt.datetime:
    """The wall clock."""
    return dt.datetime.now(dt.UTC)


def new_revision_id() -> str:
    """A RevisionId as AWS forms it."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Control:
    """The parts that operations need, and the facts of this platform."""

    store: FunctionStore
    layers: LayerStore
    event_sources: EventSourceStore
    sources: EventSources
    rules: InvocationRuleStore
    rules_changed: Callable[[FunctionId], None]
    endpoint_of: Callable[[str], str | None]
    """A service's URL; None: this server does not reach it."""
    code: CodeStore
    inspect: PackageInspector
    logs: LogStore
    manager: Manager
    catalog: Catalog
    deployments: Deployments
    scaling: Scaling
    tags: FunctionTags
    runtimes: frozenset[str]
    architecture: str
    snapshots: str | None
    """Why no version can begin from a snapshot here; None: it can."""
    account_concurrency: int
    base_url: Callable[[], str]
    """Where this server answers: for links in responses."""
    clock: Clock
    """What is due, old or missed goes by it."""
    now: Callable[[], dt.datetime] = now_utc
    new_revision: Callable[[], str] = new_revision_id

    @property
    def machine(self) -> tuple[frozenset[str], str, str | None]:
        """What a function's settings are held against: see `configuration.apply_settings`."""
        return self.runtimes, self.architecture, self.snapshots

    def changed(self, function: FunctionId) -> None:
        """A durable change to a function is about to be acknowledged."""
        self.catalog.forget(function)
        self.rules_changed(function)
