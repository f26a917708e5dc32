"""A store of functions in memory, and a front door before workers that do as told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from samovar.clock import Clock
from samovar.frontend.app import Application
from samovar.frontend.catalog import Catalog
from samovar.frontend.deployments import Deployments
from samovar.frontend.invoke_later import AcceptInvocations
from samovar.frontend.invoker import Invoker
from samovar.frontend.operations.control import Handler
from samovar.frontend.origin import OriginGuard
from samovar.frontend.own import OwnRoutes
from samovar.frontend.service import lambda_service, scheduler_service
from samovar.manager.manager import PoolManager
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import Event
from samovar.model.function import Alias, FunctionId, FunctionVersion, State, UpdateStatus
from samovar.model.invocation import Outcome
from tests.contract.samples import a_version
from tests.unit.scripted_worker import ScriptedWorker, managing

SIGNATURE = "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/lambda/aws4_request, Signature=0"
ACTIVE = a_version(state=State.ACTIVE)


class KnownFunctions:
    """The part of the `FunctionStore` port that the synchronous path uses."""

    def __init__(self, *versions: FunctionVersion) -> None:
        self.versions: dict[tuple[FunctionId, str], FunctionVersion] = {}
        self.aliases: dict[tuple[FunctionId, str], Alias] = {}
        self.reads = 0
        self.before_answer: Callable[[], None] = lambda: None
        """Called when a read has been made and before it is told."""
        self.broken: Exception | None = None
        self.unreadable: Exception | None = None
        for version in versions:
            self.put(version)

    def put(self, version: FunctionVersion) -> None:
        self.versions[version.id, version.version] = version

    async def get(self, function: FunctionId, version: str) -> FunctionVersion:
        self.reads += 1
        if self.unreadable is not None:
            raise self.unreadable
        found = self.versions.get((function, version))
        self.before_answer()
        if found is None:
            raise PlatformError(ErrorCode.NOT_FOUND, f"Function not found: {function.arn}")
        return found

    async def get_alias(self, function: FunctionId, name: str) -> Alias:
        self.reads += 1
        if (function, name) not in self.aliases:
            raise PlatformError(ErrorCode.NOT_FOUND, "Cannot find alias arn")
        return self.aliases[function, name]

    async def replace(self, version: FunctionVersion, *, expected_revision_id: str) -> None:
        if self.broken is not None:
            raise self.broken
        current = self.versions.get((version.id, version.version))
        if current is None or current.revision_id != expected_revision_id:
            raise PlatformError(ErrorCode.PRECONDITION_FAILED, "changed")
        self.put(version)

    async def pending(self) -> Sequence[FunctionVersion]:
        return [
            version
            for version in self.versions.values()
            if version.state is State.PENDING
            or version.last_update_status is UpdateStatus.IN_PROGRESS
        ]


@dataclass
class Packages:
    """The part of the `CodeStore` port that the platform's own routes use."""

    known: dict[str, bytes] = field(default_factory=dict)

    async def get(self, sha256_hex: str) -> bytes:
        if sha256_hex not in self.known:
            raise PlatformError(ErrorCode.NOT_FOUND, "Code package not found")
        return self.known[sha256_hex]


@dataclass
class Logs:
    """The part of the `LogStore` port that the platform's own routes use."""

    text: bytes = b""
    feed: list[bytes] = field(default_factory=list)
    endless: bool = False
    before_follow: Callable[[], None] = lambda: None

    def read(self, function: FunctionId, *, max_bytes: int) -> bytes:
        return self.text[-max_bytes:]

    async def follow(
        self, function: FunctionId, *, tail_bytes: int = 0
    ) -> tuple[bytes, AsyncIterator[bytes]]:
        self.before_follow()
        return self.read(function, max_bytes=tail_bytes), self._news()

    async def _news(self) -> AsyncIterator[bytes]:
        for text in self.feed:
            yield text
        if self.endless:
            await asyncio.Event().wait()


@dataclass
class Events:
    """An `EventQueue`: what has been accepted."""

    accepted: list[Event] = field(default_factory=list)
    refusal: Exception | None = None

    async def accept(self, *events: Event) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.accepted += events


@dataclass
class Answer:
    """What a client got; `status` 0: nothing."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False

    def __getitem__(self, name: str) -> str:
        (value,) = [value for known, value in self.headers if known == name]
        return value

    def all(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known == name]


@dataclass
class FrontDoor:
    """An application, and what stands behind it."""

    application: Application
    store: KnownFunctions
    catalog: Catalog
    deployments: Deployments
    manager: PoolManager
    worker: ScriptedWorker
    invoker: Invoker
    packages: Packages
    logs: Logs
    events: Events

    def returns(self, payload: bytes, **more: Any) -> None:
        """From now on functions answer so."""
        self.worker.on_invoke = lambda _: Outcome(payload, **more)

    async def ask(
        self,
        method: str,
        target: str,
        body: bytes | Sequence[bytes] = b"",
        *,
        signed: bool = True,
        gone: bool = False,
        stays: bool = False,
        headers: Mapping[str, str] | None = None,
        watch: Callable[[MutableMapping[str, Any]], Awaitable[None]] | None = None,
    ) -> Answer:
        """One request; `body` in the pieces given. The client leaves as soon as it has sent its
        request, unless it `stays`; `gone`: in the midst of it. `watch` sees what is sent to it,
        and may be slow."""
        path, _, query = target.partition("?")
        known = {"host": "127.0.0.1:9000", **(headers or {})}
        if signed:
            known.setdefault("authorization", SIGNATURE)
        scope = {
            "type": "http",
            "method": method,
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "client": ("192.0.2.7", 4242),
            "headers": [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in known.items()
            ],
        }
        pieces = [body] if isinstance(body, bytes) else list(body)
        messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        if not gone:
            messages[-1]["more_body"] = False
        answer = Answer()

        async def receive() -> MutableMapping[str, Any]:
            if stays and not messages:
                await asyncio.Event().wait()
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if watch is not None:
                await watch(message)
            if message["type"] == "http.response.start":
                assert answer.status == 0, "a response begins once"
                answer.status = message["status"]
                answer.headers = [(n.decode(), v.decode("latin-1")) for n, v in message["headers"]]
            else:
                assert answer.status and not answer.complete
                answer.body += message.get("body", b"")
                answer.complete = not message.get("more_body", False)

        await self.application(scope, receive, send)
        return answer

    async def invoke(self, payload: bytes | Sequence[bytes] = b"{}", **more: Any) -> Answer:
        """Invoke the function `f`."""
        return await self.ask("POST", "/2015-03-31/functions/f/invocations", payload, **more)


async def nobody(_: FunctionId) -> None:
    """Wants to know that a version is ready."""


@contextlib.asynccontextmanager
async def front_door(
    *versions: FunctionVersion,
    handlers: Mapping[str, Handler] | None = None,
    scheduler: Mapping[str, Handler] | None = None,
    host: str = "h",
) -> AsyncIterator[FrontDoor]:
    """A front door that knows these versions (by default, an active `f`), for one block."""
    store, worker = KnownFunctions(*(versions or (ACTIVE,))), ScriptedWorker()
    packages, logs, events = Packages(), Logs(), Events()
    later = AcceptInvocations(events, Clock(wall=lambda: 1000.0))
    async with managing(worker) as manager:
        catalog = Catalog(store, draw=lambda: 0.5)
        async with Deployments(store, manager, catalog, nobody) as deployments:
            invoker = Invoker(catalog, deployments, manager)
            own = OwnRoutes(
                invoker, packages, logs, lambda: {"isolation": "some"}, OriginGuard(host)
            )
            application = Application(
                lambda_service(handlers or {}),
                scheduler_service(scheduler or {}),
                invoker=invoker,
                own=own,
                later=later,
            )
            yield FrontDoor(
                application,
                store,
                catalog,
                deployments,
                manager,
                worker,
                invoker,
                packages,
                logs,
                events,
            )
