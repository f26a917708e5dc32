"""What the platform tells the telemetry of an instance's phases.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from samovar.guest import telemetry_events as events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samovar.guest.extensions import Extensions
    from samovar.guest.phases import Phases
    from samovar.guest.telemetry import Telemetry
    from samovar.guest.wire import Meta


class _Running:
    """An invocation whose runtime is not done."""

    def __init__(self, meta: Meta) -> None:
        self.meta = meta
        self.begun = time.perf_counter()
        self.error_type = ""
        self.produced_bytes = 0

    @property
    def status(self) -> str:
        return "error" if self.error_type else "success"


class PlatformEvents:
    """Follows `phases` and publishes AWS's platform events. Create it when init begins."""

    def __init__(
        self,
        phases: Phases,
        telemetry: Telemetry,
        extensions: Extensions,
        env: Mapping[str, str],
    ) -> None:
        self._phases = phases
        self._telemetry = telemetry
        self._extensions = extensions
        self._version = env.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        self._begun = time.perf_counter()
        self._initialised = False
        """Whether its runtime is."""
        self._ready = False
        self._running: dict[str, _Running] = {}
        """By the ids of their invocations."""
        telemetry.publish("platform.initStart", events.init_start(env))
        phases.on_invoke.append(self._on_invoke)
        phases.on_answer.append(self._on_answer)
        phases.on_runtime_rest.append(self._on_runtime_rest)
        phases.on_ready.append(self._on_ready)
        phases.on_report.append(self._on_report)

    def _on_runtime_rest(self) -> None:
        if not self._initialised:
            self._initialised = True
            self._extensions.close_registration()
            self._telemetry.publish("platform.initRuntimeDone", events.init_runtime_done())
        elif not self._phases.takes_many:
            for running in list(self._running.values()):
                self._runtime_done(running, running.status)

    def _on_ready(self, meta: Meta) -> None:
        self._ready = True
        self._extensions.tell_of_init()
        self._telemetry.publish("platform.initReport", events.init_report(_ms_since(self._begun)))
        self._telemetry.close()

    def _on_invoke(self, meta: Meta, body: bytes | bytearray) -> None:
        self._running[meta["id"]] = _Running(meta)
        if not self._telemetry.active:
            return
        trace_id = meta.get("trace_id", "")
        self._telemetry.publish("platform.start", events.start(meta["id"], self._version, trace_id))

    def _on_answer(self, request_id: str, error_type: str, produced_bytes: int) -> None:
        running = self._running.get(request_id)
        if running is None:
            return
        running.error_type = error_type
        running.produced_bytes = produced_bytes
        if self._phases.takes_many:  # its runtime need not ask for another one
            self._runtime_done(running, running.status)

    def failed(self, error_type: str, message: str) -> None:
        """The runtime's process has ended, or that of an extension."""
        about = "".join(f"RequestId: {request_id} " for request_id in self._running)
        self._telemetry.publish("platform.fault", f"{about}Error: {message}\n{error_type}")
        self.end_runtime(error_type)

    def end_runtime(self, error_type: str, status: str = "error") -> None:
        """The runtime has ended, or will be."""
        if not self._ready:
            self._extensions.tell_of_init()
        if not self._initialised:
            self._initialised = True
            self._telemetry.publish(
                "platform.initRuntimeDone", events.init_runtime_done(error_type)
            )
        for running in list(self._running.values()):
            running.error_type = error_type
            self._runtime_done(running, status)

    def _runtime_done(self, running: _Running, status: str) -> None:
        meta = running.meta
        del self._running[meta["id"]]
        if not self._telemetry.active:
            return
        record = events.runtime_done(
            meta["id"],
            status,
            running.error_type,
            _ms_since(running.begun),
            running.produced_bytes,
            meta.get("trace_id", ""),
        )
        self._telemetry.publish("platform.runtimeDone", record)

    def _on_report(self, figures: Meta) -> None:
        running = self._running.get(figures["id"])
        if running:
            # The runtime is still at work, but the story is over: its part of it comes first.
            running.error_type = running.error_type or figures.get("error_type", "")
            timed_out = figures["status"] == "timeout"
            self._runtime_done(running, "timeout" if timed_out else running.status)
        self._telemetry.publish("platform.end", {"requestId": figures["id"]})
        self._telemetry.publish("platform.report", events.report(figures))


def _ms_since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1e3
