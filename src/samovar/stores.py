"""The stores' ports: Protocols only, as in `ports.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from samovar.model.event import DeadEvent, Event
from samovar.model.event_source import EventSourceMapping
from samovar.model.function import Alias, CodeRef, FunctionId, FunctionVersion
from samovar.model.layer import LayerId, LayerPolicy, LayerVersion

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Part of a listing. `marker` continues it; None at the end."""

    items: Sequence[Item]
    marker: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionRecord:
    """What belongs to a function as a whole rather than to a version."""

    id: FunctionId
    reserved_concurrency: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class FunctionStore(Protocol):
    """Durable functions, versions and aliases. Each method is one transaction, durable on return.

    Errors are `PlatformError`: NOT_FOUND ("Function not found: ARN"), CONFLICT ("Function already
    exist: NAME"), PRECONDITION_FAILED where `revision_id` is given and is not the current one.
    """

    async def create(self, latest: FunctionVersion, tags: Mapping[str, str]) -> None: ...
    async def get(self, function: FunctionId, version: str) -> FunctionVersion: ...
    async def record(self, function: FunctionId) -> FunctionRecord: ...
    async def list_functions(
        self, account: str, region: str, *, all_versions: bool, marker: str | None, limit: int
    ) -> Page[FunctionVersion]: ...
    async def list_versions(
        self, function: FunctionId, *, marker: str | None, limit: int
    ) -> Page[FunctionVersion]: ...
    async def replace(self, version: FunctionVersion, *, expected_revision_id: str) -> None:
        """Put a new value in place of a version whose revision is still the expected one."""
        ...

    async def publish(self, function: FunctionId, build: PublishBuilder) -> FunctionVersion:
        """Add the next numbered version, made by `build(latest, newest_published, number)`;
        `build` may return `newest_published` to say that nothing has changed."""
        ...

    async def delete_function(self, function: FunctionId) -> None:
        """With all its versions and aliases."""
        ...

    async def delete_version(self, function: FunctionId, version: str) -> None:
        """CONFLICT while an alias points to it."""
        ...

    async def create_alias(self, alias: Alias) -> None: ...
    async def get_alias(self, function: FunctionId, name: str) -> Alias: ...
    async def list_aliases(
        self, function: FunctionId, *, version: str | None, marker: str | None, limit: int
    ) -> Page[Alias]: ...
    async def replace_alias(self, alias: Alias, *, expected_revision_id: str) -> None: ...
    async def delete_alias(self, function: FunctionId, name: str) -> None:
        """Deleting what is not there is no error, as AWS has it."""
        ...

    async def set_reserved_concurrency(self, function: FunctionId, limit: int | None) -> None: ...
    async def reserved_concurrencies(self) -> Mapping[FunctionId, int]: ...
    async def pending(self) -> Sequence[FunctionVersion]:
        """Versions in state Pending or with an update in progress, for start-up to go on with."""
        ...

    async def runtimes_in_use(self) -> frozenset[str]:
        """The runtimes of every version."""
        ...

    async def code_in_use(self) -> frozenset[str]:
        """sha256 (hex) of every code package that a version refers to, as its code or a layer."""
        ...


PublishBuilder = Callable[[FunctionVersion, FunctionVersion | None, int], FunctionVersion]


class LayerStore(Protocol):
    """Durable layers. Each method is one transaction, durable on return.

    Errors are `PlatformError`: NOT_FOUND ("The resource you requested does not exist.")."""

    async def publish(self, layer: LayerId, build: Callable[[int], LayerVersion]) -> LayerVersion:
        """Add the next version, made by `build(number)`. Numbers are never used twice."""
        ...

    async def get(self, layer: LayerId, number: int) -> LayerVersion: ...
    async def list_versions(
        self, layer: LayerId, made_for: MadeFor, *, marker: str | None, limit: int
    ) -> Page[LayerVersion]:
        """The newest first. A layer that is not there has none."""
        ...

    async def list_layers(
        self, account: str, region: str, made_for: MadeFor, *, marker: str | None, limit: int
    ) -> Page[LayerVersion]:
        """By name: the newest version of each layer, of those that are `made_for` it."""
        ...

    async def delete(self, layer: LayerId, number: int) -> None:
        """With its policy. Deleting what is not there is no error, as AWS has it."""
        ...

    async def policy(self, layer: LayerId, number: int) -> LayerPolicy | None:
        """NOT_FOUND where there is no such version."""
        ...

    async def change_policy(
        self,
        layer: LayerId,
        number: int,
        change: Callable[[LayerPolicy | None], LayerPolicy | None],
    ) -> None:
        """Put `change(policy)` in its place; what `change` raises undoes it. NOT_FOUND."""
        ...

    async def code_in_use(self) -> frozenset[str]:
        """sha256 (hex) of every package that a layer version refers to."""
        ...


class EventSourceStore(Protocol):
    """Durable event source mappings, and how far each has come in its source. Each method is one
    transaction, durable on return.

    Errors are `PlatformError`: NOT_FOUND ("The resource you requested does not exist.")."""

    async def create(self, mapping: EventSourceMapping) -> None:
        """CONFLICT, with AWS's words, where there is one that feeds the same; INVALID_PARAMETER
        where there are as many as there may be."""
        ...

    async def get(self, uuid: str) -> EventSourceMapping: ...
    async def list_mappings(
        self,
        account: str,
        region: str,
        *,
        source_arn: str | None,
        function: FunctionId | None,
        qualifier: str | None,
        marker: str | None,
        limit: int,
    ) -> Page[EventSourceMapping]:
        """By UUID; of a source, of a function, of one version or alias of it."""
        ...

    async def all_mappings(self) -> Sequence[EventSourceMapping]:
        """Everybody's."""
        ...

    async def change(
        self, uuid: str, change: Callable[[EventSourceMapping], EventSourceMapping]
    ) -> EventSourceMapping:
        """Put `change(mapping)` in its place and return it; what `change` raises undoes it.
        CONFLICT as for `create`."""
        ...

    async def remove(self, uuid: str) -> None:
        """With its positions. Removing what is not there is no error."""
        ...

    async def positions(self, uuid: str) -> Mapping[str, Any]:
        """Shard → where to go on, as it was saved."""
        ...

    async def save_position(self, uuid: str, shard: str, position: Any) -> None:
        """NOT_FOUND where the mapping has gone: a poller that has lived on too long."""
        ...

    async def forget_position(self, uuid: str, shard: str) -> None:
        """Forgetting what is not there is no error."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an event after an attempt; see `events/verdict.py`, which decides it. All of
    it is written in one transaction. With neither `again` nor `dead` the event has come to its end.
    """

    again: Event | None = None
    """The event as it is to be kept for its next attempt."""
    dead: DeadEvent | None = None
    """Or: the event as it is to be kept because nobody else takes it."""
    follow_ups: Sequence[Event] = ()
    """New events: records for destinations, dead letters."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Events of one queue that have been taken."""

    events: Sequence[Event]
    """The longest due first."""
    next_due_at: float | None
    """When the next one of this queue, that nobody holds, is due; None: there is none."""


class EventKeeper(Protocol):
    """Who brings events to their targets (the dispatcher), as the store of events sees it. None of
    these waits."""

    def claim(self, event: Event) -> str | None:
        """Asked before a new event is written: the token to write it with as already held, where
        it is to be begun as soon as it is durable; None: it is to wait. Each claim is answered by
        `begin` or `unclaim`."""
        ...

    def begin(self, event: Event, holder: str) -> None:
        """A claimed event is durable."""
        ...

    def unclaim(self, event: Event) -> None:
        """A claimed event was not written, or it was there already."""
        ...

    def waiting(self, queue: str, due_at: float) -> None:
        """A queue has an event that may be taken from then on."""
        ...

    def look_again(self) -> None:
        """Something may be due that it was not told of."""
        ...


class EventStore(Protocol):
    """Durable events. Each method is one transaction (or joins one with others), durable on return.

    A *holder* is one life of a dispatcher: a random token with a deadline, in real time. An event
    that is held carries its holder's token, and only that token can end it. Errors are
    `PlatformError`, UNAVAILABLE or SERVICE where the database fails.
    """

    def attach(self, keeper: EventKeeper) -> None:
        """Tell `keeper` of what is written from now on."""
        ...

    async def accept(self, *events: Event) -> None:
        """See `ports.EventQueue`."""
        ...

    async def hold(self, holder: str, lease_s: float) -> None:
        """Begin to be a holder, for so long."""

    async def renew(self, holder: str, lease_s: float) -> bool:
        """Go on being one, for so long from now. False: it is none any more, and what it held has
        gone back."""
        ...

    async def sweep(self, *, everybody: bool = False) -> int:
        """Put back what those hold whose deadlines have passed (or `everybody`, where nobody else
        can be alive). Returns how many events that were."""
        ...

    async def leave(self, holder: str) -> None:
        """Stop being a holder; what it still holds goes back."""
        ...

    async def due(self) -> Mapping[str, float]:
        """When the first event of each queue is due, of those that nobody holds."""
        ...

    async def take(self, holder: str, queue: str, limit: int, now: float) -> Taken:
        """Hold up to so many events of a queue that are due; none for who is no holder any more."""
        ...

    async def give_back(self, holder: str, event: Event) -> None:
        """An attempt has not begun: the event may be taken again, at once."""
        ...

    async def held(self, holder: str) -> Sequence[str]:
        """The ids of what it holds."""
        ...

    async def let_go(self, holder: str, ids: Sequence[str]) -> None:
        """Put back some of what it holds."""
        ...

    async def settle(self, holder: str, event: Event, verdict: Verdict) -> bool:
        """Write what becomes of an event. False: it is not this holder's any more, and nothing was
        written."""
        ...

    async def forget_dead(self, before: float) -> int:
        """Delete those that died before then; return how many."""
        ...


@dataclass(frozen=True, slots=True)
class MadeFor:
    """What listed layer versions say that they are compatible with; None: anything."""

    runtime: str | None = None
    architecture: str | None = None


class CodeStore(Protocol):
    """Code packages by content, and the buckets that Code.S3Bucket names."""

    async def put(self, package: bytes) -> CodeRef:
        """Keep a package; durable on return. Idempotent."""
        ...

    async def get(self, sha256_hex: str) -> bytes:
        """Raises `PlatformError` NOT_FOUND."""
        ...

    async def from_bucket(self, bucket: str, key: str) -> bytes:
        """Read an object that a client named. Raises `PlatformError` INVALID_PARAMETER with AWS's
        wording where it is not there, and INVALID_PARAMETER where it is over the package limit."""
        ...

    async def sweep(self, in_use: frozenset[str]) -> int:
        """Delete packages that nothing refers to; return how many."""
        ...


class PackageInspector(Protocol):
    """Checks a code package before anything is kept of it."""

    async def __call__(self, package: bytes) -> int:
        """Return what it holds, in bytes. Raises `PlatformError` INVALID_PARAMETER for what is no
        acceptable zip."""
        ...


class LogStore(Protocol):
    """What functions print. Appending never waits and never fails the caller: bounded in size."""

    def append(self, function: FunctionId, text: bytes) -> None: ...
    def delete(self, function: FunctionId) -> None:
        """Forget all of a function's, end those who follow it. Blocks: call it in a thread."""
        ...

    def read(self, function: FunctionId, *, max_bytes: int) -> bytes:
        """The newest whole lines. Blocks: call it in a thread."""
        ...

    async def follow(
        self, function: FunctionId, *, tail_bytes: int = 0
    ) -> tuple[bytes, AsyncIterator[bytes]]:
        """What `read` gives, and then all that is appended after it, until cancelled or the
        function's `delete`: nothing is missed in between, and nothing told twice."""
        ...
