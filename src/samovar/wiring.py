"""The only place that knows which implementation stands behind each port, and that builds them.

Today there is one deployment: embedded, everything in this process, SQLite and a directory.
`run` reads from top to bottom as the life of a server: lock, build, serve, drain, take down.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import uvloop

from samovar import __version__, banner, claims
from samovar.clock import Clock
from samovar.config import Config, LogFormat
from samovar.event_wiring import EventsRole, events_role
from samovar.events.rules import RuleBook
from samovar.examples import deploy_examples
from samovar.frontend.app import Application
from samovar.frontend.catalog import Catalog
from samovar.frontend.deployments import Deployments
from samovar.frontend.event_routes import EventRoutes
from samovar.frontend.faults import Faults, FaultyInvoker, run_and_kill
from samovar.frontend.function_tags import FunctionTags
from samovar.frontend.invoke_later import AcceptInvocations
from samovar.frontend.invoker import Invoker, Invoking
from samovar.frontend.operations import handlers, scheduler_handlers
from samovar.frontend.operations.control import Control
from samovar.frontend.operations.scheduler_control import SchedulerControl
from samovar.frontend.origin import OriginGuard
from samovar.frontend.own import OwnRoutes, Route
from samovar.frontend.scaling import Scaling
from samovar.frontend.schedule_routes import ScheduleRoutes
from samovar.frontend.service import lambda_service, scheduler_service
from samovar.frontend.test_controls import ControlRoutes
from samovar.frontend.top import TopRoutes
from samovar.http_server import HttpServer
from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.manager import PoolManager
from samovar.manager.rates import RateLimits
from samovar.model.errors import PlatformError
from samovar.model.function import FunctionId
from samovar.model.instance import WorkerId
from samovar.model.invocation import AT_TERMINAL_LIMIT_S, INIT_LIMIT_S
from samovar.placement.planner import Planner
from samovar.promptness import be_prompt
from samovar.sandbox.process.driver import ProcessSandbox
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore
from samovar.store.invocation_rules import SqlInvocationRuleStore
from samovar.store.layers import SqlLayerStore
from samovar.store.logs import FileLogStore
from samovar.store.objects import ObjectCodeStore
from samovar.store.scale_rules import SqlScaleStore
from samovar.store.tags import SqlTagStore
from samovar.telemetry import log as telemetry
from samovar.worker.capacity import Capacity, machine_memory_mib, machine_processors
from samovar.worker.code_cache import CodeCache
from samovar.worker.code_package import check_package
from samovar.worker.worker import LocalWorker

CODE_CACHE_BYTES = 4 * 1024**3

log = telemetry.get_logger("server")


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    telemetry.configure(as_json=config.log_format is LogFormat.JSON)
    _allow_open_files()
    be_prompt()
    try:
        with _only_one(config), _listen(config) as listener:
            uvloop.run(_serve(config, listener))
    except (StartError, PlatformError) as error:
        reason = error.message if isinstance(error, PlatformError) else str(error)
        sys.stderr.write(f"samovar: cannot start: {reason}\n")
        return 1
    except Exception:
        log.exception("the server failed")
        return 1
    return 0


@dataclass(frozen=True, slots=True)
class Platform:
    """The parts that the life of the server needs by name."""

    application: Application
    control: Control
    events: EventsRole
    manager: PoolManager
    worker: LocalWorker
    sandbox: ProcessSandbox
    logs: FileLogStore


async def _serve(config: Config, listener: socket.socket) -> None:
    base_url = _base_url(config.host, listener.getsockname()[1])
    async with _platform(config, base_url) as built:
        example = None
        if config.examples:
            example = await deploy_examples(built.control)
        stop = _stop_signal(config.end_with_stdin)
        server = HttpServer(built.application)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve(sockets=[listener]))
            tasks.create_task(_warm_up(built))
            runtimes = sorted(built.sandbox.runtimes)
            isolation = built.sandbox.isolation
            banner.show(banner.ready_line(base_url, isolation))
            banner.show(banner.ready_block(config, base_url, isolation, runtimes, example))
            await stop.wait()
            built.application.draining = True
            async with asyncio.TaskGroup() as drains:
                # In this order: an event that runs for too long is given back, not ended.
                drains.create_task(built.events.drain(config.drain_timeout_s))
                drains.create_task(built.manager.drain(config.drain_timeout_s))
            built.control.deployments.suspend()
            await built.worker.stop_all()
            await built.logs.close()  # or those who follow them would keep the server
            server.should_exit = True
            await serving


@contextlib.asynccontextmanager
async def _platform(config: Config, base_url: str) -> AsyncIterator[Platform]:
    """Build everything, from the stores up; take it down in the opposite order."""
    data, clock = config.data_dir, Clock()
    async with contextlib.AsyncExitStack() as stack:
        database = await Database.open(data / "samovar.db")
        stack.push_async_callback(database.close)
        store = SqlFunctionStore(database)
        code = ObjectCodeStore.open(data / "objects")
        layers = SqlLayerStore(database)
        await code.sweep(await store.code_in_use() | await layers.code_in_use())
        logs = FileLogStore(data / "logs")
        stack.push_async_callback(logs.close)
        cache = CodeCache(data / "cache", code, CODE_CACHE_BYTES)
        await cache.open()
        stack.push_async_callback(cache.close)
        sandbox = _sandbox(config)
        await sandbox.open()
        stack.push_async_callback(sandbox.close)
        manager, worker = await stack.enter_async_context(
            _managing(config, sandbox, cache, logs, await store.reserved_concurrencies())
        )
        catalog = Catalog(store)
        scaling, tags, deployments = await stack.enter_async_context(
            _deploying(database, store, manager, catalog)
        )
        rule_store = SqlInvocationRuleStore(database)
        rules, loops_allowed = RuleBook(rule_store, store), rule_store.loops_allowed
        faults = Faults()
        invoker: Invoking = Invoker(catalog, deployments, manager, loops_allowed=loops_allowed)
        if config.test_controls:
            crashing = Invoker(catalog, deployments, manager, run_and_kill, loops_allowed)
            invoker = FaultyInvoker(invoker, crashing, manager, faults)
        events = await stack.enter_async_context(
            events_role(config, database, invoker, manager.ledger.reserved, rules, clock)
        )
        control = Control(
            store=store,
            layers=layers,
            event_sources=events.source_store,
            sources=events.sources,
            rules=rule_store,
            rules_changed=rules.forget,
            endpoint_of=config.endpoint_of,
            code=code,
            inspect=check_package,
            logs=logs,
            manager=manager,
            catalog=catalog,
            deployments=deployments,
            scaling=scaling,
            tags=tags,
            runtimes=frozenset(sandbox.runtimes),
            architecture=_architecture(),
            snapshots=sandbox.snapshots,
            account_concurrency=config.account_concurrency,
            base_url=lambda: base_url,
            clock=clock,
        )
        more = {**_event_routes(events, clock), **TopRoutes(manager, [worker]).routes()}
        if config.test_controls:
            more["test"] = ControlRoutes(invoker, clock, faults, events.at_rest)
        guard = OriginGuard(*config.host_names)
        application = Application(
            lambda_service(handlers(control)),
            scheduler_service(scheduler_handlers(_scheduler_control(config, events, clock))),
            invoker=invoker,
            own=OwnRoutes(invoker, code, logs, _health(config, sandbox), guard, more),
            later=AcceptInvocations(events.queue, clock),
        )
        yield Platform(application, control, events, manager, worker, sandbox, logs)


def _event_routes(events: EventsRole, clock: Clock) -> dict[str, Route]:
    about_events = EventRoutes(events.admin, clock).routes()
    return {"schedules": ScheduleRoutes(events.schedules.store), **about_events}


def _scheduler_control(config: Config, events: EventsRole, clock: Clock) -> SchedulerControl:
    schedules = events.schedules
    return SchedulerControl(
        schedules=schedules.store,
        groups=schedules.groups,
        clock=clock,
        changed=schedules.ticker.changed,
        endpoint_of=config.endpoint_of,
    )


@contextlib.asynccontextmanager
async def _managing(
    config: Config,
    sandbox: ProcessSandbox,
    cache: CodeCache,
    logs: FileLogStore,
    reserved: Mapping[FunctionId, int],
) -> AsyncIterator[tuple[PoolManager, LocalWorker]]:
    """The manager and its worker. The worker stops its instances before the manager ends."""
    init_limit_s = AT_TERMINAL_LIMIT_S if config.terminal else INIT_LIMIT_S
    worker = LocalWorker(
        WorkerId("local"),
        sandbox,
        cache,
        logs,
        _capacity(config),
        init_limit_s=init_limit_s,
        terminal=config.terminal or None,
    )
    manager = PoolManager(
        [worker],
        Planner(),
        ConcurrencyLedger(config.account_concurrency, reserved),
        idle_timeout_s=config.idle_timeout_s,
        queue_timeout_s=config.queue_timeout_s,
        init_limit_s=init_limit_s,
        keep_alive=config.keep_alive,
        concurrency_target=config.concurrency_target,
        queue_requests=config.queue_requests,
        rates=RateLimits(config.scaling_rate, config.invocation_rate_factor),
    )
    async with manager, worker:
        yield manager, worker


@contextlib.asynccontextmanager
async def _deploying(
    database: Database, store: SqlFunctionStore, manager: PoolManager, catalog: Catalog
) -> AsyncIterator[tuple[Scaling, FunctionTags, Deployments]]:
    """What is kept of functions comes into force; what is changed of them, too."""
    scaling = Scaling(SqlScaleStore(database), store, manager)
    await scaling.restore()
    tags = FunctionTags(SqlTagStore(database), manager)
    await tags.restore()
    async with Deployments(store, manager, catalog, scaling.follow) as deployments:
        yield scaling, tags, deployments


def _capacity(config: Config) -> Capacity:
    return Capacity(
        usable_memory_mib=config.usable_memory_mib(machine_memory_mib()),
        processors=machine_processors(),
        memory_oversubscription=config.memory_oversubscription,
        cpu_oversubscription=config.cpu_oversubscription,
        architecture=_architecture(),
        zone=config.zone,
    )


def _sandbox(config: Config) -> ProcessSandbox:
    return ProcessSandbox(
        config.data_dir,
        mode=config.isolation,
        memory_mib=config.memory_end_mib(machine_memory_mib()),
        blanks=config.blanks,
        search_path=config.search_path,
    )


async def _warm_up(built: Platform) -> None:
    """Make the runtimes of known functions ready, so that their first start is fast."""
    try:
        in_use = await built.control.store.runtimes_in_use()
        for runtime in sorted(in_use & set(built.sandbox.runtimes)):
            with contextlib.suppress(PlatformError):  # the first start will say why
                await built.sandbox.prepare(runtime)
    except Exception:  # starts are slower then; it is no reason to end the server
        log.exception("the runtimes could not be warmed up")


def _health(config: Config, sandbox: ProcessSandbox) -> Callable[[], dict[str, Any]]:
    def health() -> dict[str, Any]:
        isolation = sandbox.isolation
        return {
            "version": __version__,
            "isolation": {
                "driver": isolation.driver,
                "layers": sorted(isolation.layers),
                "missing": dict(isolation.missing),
            },
            "runtimes": sorted(sandbox.runtimes),
            "store": str(config.data_dir.resolve()),
            "test_controls": config.test_controls,
        }

    return health


# ---------------------------------------------------------------- the process


@contextlib.contextmanager
def _only_one(config: Config) -> Iterator[None]:
    """Hold the data directory: a second server on it would fight over everything."""
    data_dir = config.data_dir
    lock = config.lock_fd if config.lock_fd >= 0 else None
    try:
        if lock is None:
            lock = claims.claim_data_dir(data_dir)
        else:
            os.set_inheritable(lock, False)  # instances must not hold it
    except OSError as error:
        raise StartError(f"the data directory {data_dir} cannot be used: {error}") from error
    if lock is None:
        raise StartError(
            f"another server uses {data_dir}; stop it, or give --data-dir another directory"
        )
    try:
        yield
    finally:
        os.close(lock)


def _listen(config: Config) -> socket.socket:
    host, port = config.host, config.port
    try:
        if config.listener_fd < 0:
            return claims.listen(host, port)
        os.set_inheritable(config.listener_fd, False)
        return socket.socket(fileno=config.listener_fd)
    except OSError as error:
        raise StartError(
            f"{host}:{port} cannot be listened on: {error.strerror}; try --port 0"
        ) from error


def _allow_open_files() -> None:
    """Each connection and each instance takes some; the usual soft limit of 1,024 is for programs
    that use select()."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _stop_signal(end_with_stdin: bool) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read_stdin() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()

    if end_with_stdin:
        loop.add_reader(0, read_stdin)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _base_url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


def _architecture() -> str:
    return {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
