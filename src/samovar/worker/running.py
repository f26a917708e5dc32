"""One instance on this worker: its init phase, its invocations and its end.

Nothing that the instance sends is trusted: an answer of the wrong type, an answer that is too
large, silence beyond the timeout and a closed channel all end in a `Fault`, and the instance is
not used again. It is ended when the others that run in it have ended, each as it would.

An invocation ends with its answer. An instance whose answer is *pending* may still be busy then,
with what its function or its extensions do afterwards: `await_idle` waits for that, as long as the
function's timeout would still let it run. (One that takes many requests at once is busy anyway.)
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Awaitable, Callable

from samovar.guest import wire
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionVersion
from samovar.model.instance import Initialization, InstanceState, move
from samovar.model.invocation import (
    AT_TERMINAL_LIMIT_S,
    INIT_LIMIT_S,
    Invocation,
    Outcome,
    error_type_of,
)
from samovar.model.web import WebSettings
from samovar.ports import Exit, InitFailedError, ResponseSink, SandboxInstance
from samovar.worker import frames, report
from samovar.worker.channel import Channel, ChannelClosedError
from samovar.worker.farewell import LONGEST_S, Farewell
from samovar.worker.lane import Lane
from samovar.worker.lanes import Lanes
from samovar.worker.output import Output, Tail

EXIT_WAIT_S = 2.5
"""How long a closed channel may precede the end of the process before we end it: longer than its
extensions may take (`farewell`)."""

SNAPSHOT_INIT_LIMIT_S = 130.0
RESTORE_LIMIT_S = 10.0
"""AWS's: a snapshot's init has that long, or the function's timeout if that is longer.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html"""

SETTLE_AFTER_S = 0.005
"""The CPU quota may come a little late, but must not compete with the first invocation."""

UNKNOWN_TYPE = "Runtime.Unknown"


Ask = Callable[[Lane, bytes, ResponseSink | None], Awaitable[tuple[int, bytes]]]


class RunningInstance:
    """See the module's text. `state` moves as in `model.instance`.

    `log` takes what goes to the function's log; `lost` is called when the instance becomes useless
    while it is idle; `terminal` is where a person may debug it, without its time limits; `web` is
    how to speak to it if it is a web server."""

    def __init__(
        self,
        handle: SandboxInstance,
        version: FunctionVersion,
        log: Callable[[bytes], None],
        lost: Callable[[], None],
        init_limit_s: float = INIT_LIMIT_S,
        terminal: str | None = None,
        web: WebSettings | None = None,
        initialization: Initialization = Initialization.ON_DEMAND,
    ) -> None:
        self.handle = handle
        self.version = version
        self.state = InstanceState.STARTING
        self._lost = lost
        self._init_limit_s = init_limit_s
        self._terminal = terminal
        self._web = web
        self._initialization = initialization
        self._timeout_s = version.timeout_s if terminal is None else AT_TERMINAL_LIMIT_S
        self._channel = Channel(handle.channel, self._channel_closed)
        self._lanes = Lanes(
            self._channel, version.concurrency, self._lane, on_closed=self._channel_closed
        )
        self._spoilt = False
        """Whether nothing new is to run in it."""
        self._output = Output(handle.output_fd, log)
        self._init_log = self._output.begin()
        self._farewell = Farewell(self._channel, handle)
        self._sentence: report.Fault | None = None
        """Why it is ended by choice."""
        self._init_ms: float | None = None
        self._restore: report.Restore | None = None
        """Told in the REPORT line of the first invocation, then None."""

    async def initialise(self, *, snapshot: bool = False) -> float:
        """Run the init phase; return its length in ms as the runtime measured it. `snapshot`: of a
        template, which has more time for it.

        Raises `InitFailedError` or, where the sandbox could not start it, `PlatformError`."""
        timeout_s = self.version.timeout_s
        if snapshot:
            limit_s = max(SNAPSHOT_INIT_LIMIT_S, float(timeout_s))
        else:
            limit_s = self._init_limit_s + timeout_s
        frame = frames.init(
            self.version,
            self.handle,
            self._initialization,
            self._terminal,
            self._web,
            snapshot=snapshot,
        )
        init_ms = await self._until_ready(frame, limit_s, report.timed_out(timeout_s))
        if snapshot:
            self._output.write(report.snapshot_report(init_ms))
        else:
            self._init_ms = init_ms
        return init_ms

    async def restore(self) -> float:
        """Have an instance that was forked from a template go on; return how long its hooks took,
        in ms. Raises as `initialise`."""
        begun = time.perf_counter()
        late = report.restore_timed_out(RESTORE_LIMIT_S)
        hooks_ms = await self._until_ready(frames.restore(), RESTORE_LIMIT_S, late)
        self._restore = report.Restore((time.perf_counter() - begun) * 1e3, hooks_ms)
        self._output.write(self._restore.line())
        return hooks_ms

    async def _until_ready(self, frame: bytes, limit_s: float, late: report.Fault) -> float:
        """Send the first frame; return the ms that the instance says it took to be ready."""
        begun = time.perf_counter()
        answer = self._channel.request(frame)
        try:
            async with asyncio.timeout(limit_s):
                kind, meta, body = await answer
        except TimeoutError as error:
            raise self._init_failed(begun, late.document(""), None) from error
        except ChannelClosedError as error:
            end = await self._await_end(error)
            if end.failure is not None:
                raise PlatformError(
                    ErrorCode.SERVICE, f"The sandbox could not start: {end.failure}"
                ) from error
            fault = self._sentence or report.exited(end)
            raise self._init_failed(begun, fault.document(""), fault.error_type) from error
        total_ms = (time.perf_counter() - begun) * 1e3
        if kind == wire.INIT_ERROR:
            raise self._init_failed(begun, body, error_type_of(body, UNKNOWN_TYPE))
        if kind != wire.READY or self._channel.closed:
            fault = self._sentence or report.exited(Exit(code=0))
            raise self._init_failed(begun, fault.document(""), fault.error_type)
        told = meta.get("init_ms")
        plausible = isinstance(told, int | float) and 0 <= told <= total_ms
        init_ms = float(told or 0) if plausible else total_ms
        self._farewell.learn(meta)
        self._init_log.end()
        self._lanes.open_one()
        self.state = move(self.state, InstanceState.IDLE)
        asyncio.get_running_loop().call_later(SETTLE_AFTER_S, self._settle)
        return init_ms

    @property
    def takes_more(self) -> bool:
        """Whether it may be invoked now."""
        return (
            self.state in (InstanceState.IDLE, InstanceState.BUSY)
            and not self._spoilt
            and not self._lanes.all_busy
            and not self.handle.exited.done()
        )

    @property
    def is_spent(self) -> bool:
        """Whether it is of no use any more: nothing runs in it, and nothing new is to."""
        return self._spoilt and not self._lanes.busy

    def invoke(
        self, invocation: Invocation, sink: ResponseSink | None = None
    ) -> Awaitable[Outcome]:
        """See `ports.Worker.invoke`."""
        return self._invoke(invocation, Lane.ask, sink)

    def crash(self, invocation: Invocation) -> Awaitable[Outcome]:
        """See `ports.Worker.crash`."""
        return self._invoke(invocation, Lane.die, None)

    async def _invoke(self, invocation: Invocation, ask: Ask, sink: ResponseSink | None) -> Outcome:
        lane = self._lanes.take()
        if self.state is InstanceState.IDLE:
            self.state = move(self.state, InstanceState.BUSY)
        log = self._output.begin(report.start_line(invocation.request_id, self.version.version))
        try:
            return await self._run(lane, log, invocation, ask, sink)
        except BaseException:
            self._spoil(lane, None)
            raise
        finally:
            log.end()

    async def _run(
        self, lane: Lane, log: Tail, invocation: Invocation, ask: Ask, sink: ResponseSink | None
    ) -> Outcome:
        request_id = invocation.request_id
        begun = time.perf_counter()
        fault: report.Fault | None = None
        function_error: str | None = None
        try:
            kind, body = await ask(lane, frames.invoke(invocation, self._timeout_s), sink)
        except report.FaultError as error:
            fault, in_order, body = error.fault, error.in_order, b""
        else:
            in_order = True
            if kind == wire.ERROR:
                function_error = "Unhandled"
        run_ms = (time.perf_counter() - begun) * 1e3
        self._output.drain()
        if fault is not None:
            function_error, body = "Unhandled", fault.document(request_id)
            self._output.write(fault.log_line(request_id, dt.datetime.now(dt.UTC)))
        at_rest = in_order and (lane.channel.idle is None or await lane.is_at_rest())
        if not in_order or lane.channel.closed:
            self._spoil(lane, fault)
        elif at_rest:
            self._free(lane)
        pending = in_order and not at_rest and not lane.channel.closed
        self._report(request_id, run_ms, fault)
        return Outcome(
            payload=body,
            function_error=function_error,
            log_tail=log.text() if invocation.want_log_tail else b"",
            run_ms=run_ms,
            instance_survives=not self._spoilt,
            pending=pending,
        )

    async def await_idle(self) -> bool:
        """See `ports.Worker.await_idle`."""
        (lane,) = self._lanes.busy
        if await lane.await_rest() and self.state is InstanceState.BUSY:
            self._free(lane)
            return True
        self._spoil(lane, report.timed_out(self.version.timeout_s))
        return False

    # ------------------------------------------------------------ lanes

    def _lane(self, channel: Channel) -> Lane:
        memory_mib = self.version.memory_mib
        return Lane(channel, self.handle, memory_mib, self._timeout_s, self._why_closed)

    def _free(self, lane: Lane) -> None:
        """It can take the next one."""
        self._lanes.free(lane)
        if self.state is InstanceState.BUSY and not self._lanes.busy:
            self.state = move(self.state, InstanceState.IDLE)
            if self._spoilt:
                self.condemn()

    def _spoil(self, lane: Lane, fault: report.Fault | None) -> None:
        """Its invocation has ended badly: nothing new is to run here. The others go on."""
        self._farewell.blame(fault)
        self._spoilt = True
        self._lanes.give_up(lane)
        if not self._lanes.busy:
            self.condemn()

    def condemn(self) -> None:
        """From now on the instance is not to be used. Idempotent."""
        self._spoilt = True
        if self.state is not InstanceState.STOPPING:  # it may have been stopped in mid-invocation
            self.state = move(self.state, InstanceState.STOPPING)

    # ------------------------------------------------------------ ends

    @property
    def declared_mib(self) -> int:
        """The memory that its function declares."""
        return self.version.memory_mib

    def cut_off(self, why: report.Fault) -> None:
        """Have whatever it does fail for this reason, now: it is about to be stopped."""
        self._sentence = why
        self._farewell.withhold()
        self._channel.close()
        self._lanes.close()

    def close_channels(self) -> None:
        """End what waits for an answer: none will come. A stream whose taker is slow is read to
        its end first; that is as near as the taker."""
        for lane in tuple(self._lanes.busy):
            if not lane.channel.paused:
                lane.channel.close()

    async def stop(self, farewell_s: float = LONGEST_S) -> None:
        """End the instance; nothing of it is left on return. Idempotent. Its extensions have at
        most `farewell_s`; 0: they are not told."""
        self.condemn()
        try:
            await self._farewell.say(farewell_s)
        finally:
            self._output.drain()
            self._channel.close()
            self._lanes.close()
            self._output.close()
            await self.handle.stop()

    def _channel_closed(self) -> None:
        """Whoever waits for an answer learns it from there; nobody does on an idle lane."""
        if self.state is InstanceState.IDLE or self._lanes.breached:
            self._lost()
        elif self.state is InstanceState.BUSY:
            self._spoilt = True

    def _settle(self) -> None:
        if self.state in (InstanceState.IDLE, InstanceState.BUSY):
            self.handle.settle()

    async def _why_closed(self, closed: ChannelClosedError) -> report.Fault:
        end = await self._await_end(closed)
        return self._sentence or report.exited(end)

    async def _await_end(self, closed: ChannelClosedError) -> Exit:
        """How the process ended. One that broke the protocol, or closed its channel and lives on,
        is killed."""
        if closed.breach is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXIT_WAIT_S):
                    return await asyncio.shield(self.handle.exited)
        await self.stop(farewell_s=0.0)
        return Exit(code=0)

    def _init_failed(
        self, begun: float, document: bytes, error_type: str | None
    ) -> InitFailedError:
        init_ms = (time.perf_counter() - begun) * 1e3
        self._output.drain()
        self._output.write(report.init_report(init_ms, error_type))
        return InitFailedError(document, self._init_log.text())

    def _report(self, request_id: str, run_ms: float, fault: report.Fault | None) -> None:
        """Say what the invocation has cost."""
        init_ms, self._init_ms = self._init_ms, None
        restore, self._restore = self._restore, None
        figures = report.Figures(
            request_id,
            run_ms,
            self.version.memory_mib,
            self.handle.peak_memory_bytes(),
            init_ms,
            fault,
            restore,
        )
        self._output.write(figures.lines())
        self._farewell.report(figures)


def _expire(answer: asyncio.Future[wire.Frame]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
