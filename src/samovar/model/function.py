"""A function, its versions and its aliases: what a client configured.

A *function* has one mutable version, `$LATEST`, and immutable numbered ones. A `FunctionVersion`
is everything that makes an instance what it is; `revision_id` changes with any change to it, so
`(arn, revision_id)` names code plus configuration exactly, and an instance is never used for
another one (invariant 4).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

LATEST = "$LATEST"

MAX_ZIP_BYTES = 50 * 1024 * 1024
"""AWS's 50 MB: a package in the request itself."""

MAX_UNPACKED_BYTES = 250 * 1024 * 1024
"""AWS's 250 MB: a function's code and its layers together, unpacked; a package in a bucket too.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

MIB_PER_VCPU = 1769
"""AWS: at 1,769 MB a function has the equivalent of one vCPU."""

MAX_CONCURRENCY_PER_INSTANCE = 256
"""Requests at once in one instance. AWS's own bound is 1,600; but a process in an instance has at
most 1,024 open files (AWS's quota), and each request takes up to three of them before the function
has opened one: its lane, and what its runtime speaks over."""


class FunctionId(NamedTuple):
    """Who a function is: unique within an account and region. A tuple, for it is hashed often."""

    account: str
    region: str
    name: str

    @property
    def arn(self) -> str:
        """The unqualified ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"

    def qualified_arn(self, qualifier: str) -> str:
        """The ARN of one version or alias."""
        return f"{self.arn}:{qualifier}"


class State(StrEnum):
    """The lifecycle of a function version; `VERSION_MOVES` is its transition table."""

    PENDING = "Pending"
    ACTIVE = "Active"
    FAILED = "Failed"


VERSION_MOVES: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.ACTIVE, State.FAILED}),
    State.ACTIVE: frozenset(),
    State.FAILED: frozenset({State.PENDING}),
}
"""A new version is prepared (its code unpacked, its runtime made ready) once; an update to a
`$LATEST` that failed tries again."""


class UpdateStatus(StrEnum):
    """The lifecycle of an update to `$LATEST`; `UPDATE_MOVES` is its transition table."""

    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    IN_PROGRESS = "InProgress"


UPDATE_MOVES: Mapping[UpdateStatus, frozenset[UpdateStatus]] = {
    UpdateStatus.IN_PROGRESS: frozenset({UpdateStatus.SUCCESSFUL, UpdateStatus.FAILED}),
    UpdateStatus.SUCCESSFUL: frozenset({UpdateStatus.IN_PROGRESS}),
    UpdateStatus.FAILED: frozenset({UpdateStatus.IN_PROGRESS}),
}


@dataclass(frozen=True, slots=True)
class CodeRef:
    """A code package in the object store, named by its content."""

    sha256_hex: str
    size_bytes: int
    """Of the zip, packed."""
    unpacked_bytes: int = field(default=0, compare=False)
    """What it holds. 0: not known (it was kept before this was)."""

    @classmethod
    def of(cls, package: bytes) -> CodeRef:
        """The name of a package."""
        return cls(hashlib.sha256(package).hexdigest(), len(package))


@dataclass(frozen=True, slots=True)
class LayerRef:
    """One layer version that a function uses. It stays usable when the layer version is deleted."""

    arn: str
    code: CodeRef


@dataclass(frozen=True, slots=True)
class CapacityProvider:
    """That a version's instances take many requests at once (CapacityProviderConfig).

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances.html"""

    arn: str
    max_concurrency: int
    """Requests at once in one instance: never more."""
    memory_gib_per_vcpu: float | None = None
    """None: the CPU share is that of any function."""


class VersionKey(NamedTuple):
    """Code and configuration, exactly. Instances are pooled by it."""

    function: FunctionId
    version: str
    revision_id: str


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """One version of a function, with the whole configuration that its instances run with."""

    id: FunctionId
    version: str
    """`$LATEST` or a number from 1."""
    revision_id: str
    runtime: str
    handler: str
    role: str
    code: CodeRef
    last_modified: dt.datetime
    description: str = ""
    memory_mib: int = 128
    timeout_s: int = 3
    ephemeral_storage_mib: int = 512
    environment: Mapping[str, str] = field(default_factory=dict)
    architecture: str = "x86_64"
    tenant_isolation: bool = False
    """Whether an instance serves one tenant only, whom each invocation names."""
    layers: tuple[LayerRef, ...] = ()
    """In the order in which they are merged: later ones win."""
    dead_letter_arn: str | None = None
    """Where asynchronous events end that it has failed: a queue or a topic."""
    snap_start: bool = False
    """Whether versions that are published begin from a snapshot (ApplyOn=PublishedVersions)."""
    capacity_provider: CapacityProvider | None = None
    state: State = State.PENDING
    state_reason: str | None = None
    state_reason_code: str | None = None
    last_update_status: UpdateStatus = UpdateStatus.SUCCESSFUL
    last_update_reason: str | None = None
    last_update_reason_code: str | None = None

    @property
    def key(self) -> VersionKey:
        """What instances of exactly this code and configuration are pooled by."""
        return VersionKey(self.id, self.version, self.revision_id)

    @property
    def arn(self) -> str:
        """The qualified ARN."""
        return self.id.qualified_arn(self.version)

    @property
    def vcpus(self) -> float:
        """CPU share: it follows memory."""
        provider = self.capacity_provider
        if provider is not None and provider.memory_gib_per_vcpu:
            return self.memory_mib / (1024 * provider.memory_gib_per_vcpu)
        return self.memory_mib / MIB_PER_VCPU

    @property
    def concurrency(self) -> int:
        """Requests at once in one instance, at the most."""
        return self.capacity_provider.max_concurrency if self.capacity_provider else 1

    @property
    def snapshotted(self) -> bool:
        """Whether its instances are forked from a template."""
        return self.snap_start and self.version != LATEST


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for a version, or for two with a weight: `routing` maps the second to its share."""

    id: FunctionId
    name: str
    version: str
    revision_id: str
    description: str = ""
    routing: Mapping[str, float] = field(default_factory=dict)
    """Additional version → weight in (0, 1); the rest goes to `version`."""
