"""One instance on this worker: its init phase and its invocations, one at a time.

Nothing that the instance sends is trusted: an answer of the wrong type, an answer that is too
large, silence beyond the timeout and a closed channel all end in a `Fault`, and the instance is
not used again.

An invocation ends with its answer. An instance whose answer is *pending* may still be busy then,
with what its function or its extensions do afterwards: `await_idle` waits for that, as long as the
function's timeout would still let it run.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import Awaitable, Callable

import msgspec

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
from samovar.worker import report
from samovar.worker.channel import Channel, ChannelClosedError
from samovar.worker.environment import instance_environment
from samovar.worker.farewell import LONGEST_S, Farewell
from samovar.worker.output import Output
from samovar.worker.relay import relay

EXIT_WAIT_S = 2.5
"""How long a closed channel may precede the end of the process before we end it: longer than its
extensions may take (`farewell`)."""

SETTLE_AFTER_S = 0.005
"""The CPU quota may come a little late, but must not compete with the first invocation."""

REST_GRACE_S = 0.005
"""A runtime asks for its next event within a fraction of a millisecond after an answer. A client
that calls again at once is to find the instance idle, not one more being started."""

UNKNOWN_TYPE = "Runtime.Unknown"


Answer = Callable[[Invocation, ResponseSink | None], Awaitable[tuple[int, bytes]]]


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
        self._output = Output(handle.output_fd, log)
        self._begun = 0.0
        """When the newest invocation began."""
        self._farewell = Farewell(self._channel, handle)
        self._sentence: report.Fault | None = None
        """Why it is ended by choice."""
        self._init_ms: float | None = None
        """Told in the REPORT line of the first invocation, then None."""

    async def initialise(self) -> float:
        """Run the init phase; return its length in ms as the runtime measured it.

        Raises `InitFailedError` or, where the sandbox could not start it, `PlatformError`."""
        begun = time.perf_counter()
        limit_s = self._init_limit_s + self.version.timeout_s
        answer = self._channel.request(self._init_frame())
        try:
            async with asyncio.timeout(limit_s):
                kind, meta, body = await answer
        except TimeoutError as error:
            fault = report.timed_out(self.version.timeout_s)
            raise self._init_failed(begun, fault.document(""), None) from error
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
        self._init_ms = init_ms
        self._farewell.learn(meta)
        self.state = move(self.state, InstanceState.IDLE)
        asyncio.get_running_loop().call_later(SETTLE_AFTER_S, self._settle)
        return init_ms

    async def invoke(self, invocation: Invocation, sink: ResponseSink | None = None) -> Outcome:
        """See `ports.Worker.invoke`."""
        return await self._invoke(invocation, self._answer, sink)

    async def crash(self, invocation: Invocation) -> Outcome:
        """See `ports.Worker.crash`."""
        return await self._invoke(invocation, self._die, None)

    async def _invoke(
        self, invocation: Invocation, answer: Answer, sink: ResponseSink | None
    ) -> Outcome:
        self.state = move(self.state, InstanceState.BUSY)
        request_id = invocation.request_id
        self._output.begin(report.start_line(request_id, self.version.version))
        self._begun = begun = time.perf_counter()
        fault: report.Fault | None = None
        function_error: str | None = None
        pending = in_order = False
        try:
            kind, body = await answer(invocation, sink)
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
        idle = self._channel.idle
        if idle is not None and in_order:
            await asyncio.wait((idle,), timeout=REST_GRACE_S)
        if not in_order or self._channel.closed:
            self._farewell.blame(fault)
            self.condemn()
        elif idle is None or idle.done():
            self.state = move(self.state, InstanceState.IDLE)
        else:
            pending = True
        self._report(request_id, run_ms, fault)
        return Outcome(
            payload=body,
            function_error=function_error,
            log_tail=self._output.tail() if invocation.want_log_tail else b"",
            run_ms=run_ms,
            instance_survives=pending or self.state is InstanceState.IDLE,
            pending=pending,
        )

    async def _answer(self, invocation: Invocation, sink: ResponseSink | None) -> tuple[int, bytes]:
        """Ask; return whether it is a RESPONSE or an ERROR, and the payload.

        Raises `report.FaultError` for every other end."""
        timeout_s = self._timeout_s
        answer = self._channel.request(self._invoke_frame(invocation))
        timer = asyncio.get_running_loop().call_later(timeout_s, _expire, answer)
        try:
            kind, meta, body = await answer
            if kind == wire.HEAD and self._channel.parts is not None:
                parts = self._channel.parts
                async with self._until_timeout():
                    kind, body = await relay(meta, parts, sink)
                meta = parts.end[1] if parts.end else {}
        except TimeoutError as error:
            raise report.FaultError(report.timed_out(timeout_s)) from error
        except ChannelClosedError as error:
            end = await self._await_end(error)
            raise report.FaultError(self._sentence or report.exited(end)) from error
        finally:
            timer.cancel()
        if kind not in (wire.RESPONSE, wire.ERROR):
            raise report.FaultError(report.exited(Exit(code=0)))
        if kind == wire.ERROR and "fault" in meta:
            starved = self.handle.peak_memory_bytes() >= self.version.memory_mib << 20
            raise report.FaultError(report.declared(meta, starved))
        if len(body) > report.RESPONSE_LIMIT_BYTES:
            raise report.FaultError(report.response_too_large())
        return kind, body

    async def _die(self, invocation: Invocation, _: ResponseSink | None) -> tuple[int, bytes]:
        """Be given the event, and be killed. Raises `report.FaultError`."""
        answer = self._channel.request(self._invoke_frame(invocation))
        self._channel.close()  # should it be faster than the kill: what it answers is not heard
        try:
            await answer
        except ChannelClosedError as error:
            await self.handle.stop()
            raise report.FaultError(report.exited(await self.handle.exited)) from error
        raise AssertionError("a closed channel has given an answer")

    async def await_idle(self) -> bool:
        """See `ports.Worker.await_idle`."""
        idle, survives = self._channel.idle, False
        assert idle is not None, "not pending"
        with contextlib.suppress(TimeoutError):
            async with self._until_timeout():
                survives = await idle and not self._channel.closed
        if survives and self.state is InstanceState.BUSY:
            self.state = move(self.state, InstanceState.IDLE)
            return True
        self._farewell.blame(report.timed_out(self.version.timeout_s))
        self.condemn()
        return False

    def _until_timeout(self) -> asyncio.Timeout:
        return asyncio.timeout(self._timeout_s - (time.perf_counter() - self._begun))

    def condemn(self) -> None:
        """From now on the instance is not to be used. Idempotent."""
        if self.state is not InstanceState.STOPPING:  # it may have been stopped in mid-invocation
            self.state = move(self.state, InstanceState.STOPPING)

    @property
    def declared_mib(self) -> int:
        """The memory that its function declares."""
        return self.version.memory_mib

    def cut_off(self, why: report.Fault) -> None:
        """Have whatever it does fail for this reason, now: it is about to be stopped."""
        self._sentence = why
        self._farewell.withhold()
        self._channel.close()

    def close_channel(self) -> None:
        """End what waits for an answer: none will come. A stream whose taker is slow is read to
        its end first; that is as near as the taker."""
        if not self._channel.paused:
            self._channel.close()

    async def stop(self, farewell_s: float = LONGEST_S) -> None:
        """End the instance; nothing of it is left on return. Idempotent. Its extensions have at
        most `farewell_s`; 0: they are not told."""
        self.condemn()
        try:
            await self._farewell.say(farewell_s)
        finally:
            self._output.drain()
            self._channel.close()
            self._output.close()
            await self.handle.stop()

    # ------------------------------------------------------------ frames

    def _init_frame(self) -> bytes:
        today = dt.datetime.now(dt.UTC).strftime("%Y/%m/%d")
        root, opt = self.handle.task_root, self.handle.layers_root
        env = instance_environment(
            self.version, self.handle.id, root, opt, today, self._initialization
        )
        meta = {
            "handler": self.version.handler,
            "task_root": root,
            "runtime": self.version.runtime,
            "env": env,
        }
        if opt is not None:
            meta["opt"] = opt
        if self._terminal is not None:
            meta["terminal"] = self._terminal
        if self._web is not None:
            meta["web"] = self._web.as_meta()
        return wire.encode(wire.INIT, meta)

    def _invoke_frame(self, invocation: Invocation) -> bytes:
        meta: wire.Meta = {
            "id": invocation.request_id,
            "arn": invocation.function_arn,
            "deadline_ms": int((time.time() + self._timeout_s) * 1e3),
        }
        if invocation.client_context is not None:
            meta["client_context"] = invocation.client_context
        if invocation.trace_id is not None:
            meta["trace_id"] = invocation.trace_id
        if invocation.tenant_id is not None:
            meta["tenant_id"] = invocation.tenant_id
        return wire.frame(wire.INVOKE, msgspec.json.encode(meta), invocation.payload)

    # ------------------------------------------------------------ ends

    def _channel_closed(self) -> None:
        """Whoever waits for an answer learns it from there; nobody does while it is idle."""
        if self.state is InstanceState.IDLE:
            self._lost()

    def _settle(self) -> None:
        if self.state in (InstanceState.IDLE, InstanceState.BUSY):
            self.handle.settle()

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
        return InitFailedError(document, self._output.tail())

    def _report(self, request_id: str, run_ms: float, fault: report.Fault | None) -> None:
        """Say what the invocation has cost."""
        init_ms, self._init_ms = self._init_ms, None
        figures = report.Figures(
            request_id,
            run_ms,
            self.version.memory_mib,
            self.handle.peak_memory_bytes(),
            init_ms,
            fault,
        )
        self._output.write(figures.lines())
        self._farewell.report(figures)


def _expire(answer: asyncio.Future[wire.Frame]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
