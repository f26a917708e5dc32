"""What an instance has besides its runtime: extensions, telemetry, an end that takes both along.

The bridge makes one for each instance, and tells it when the program is to be started, when it has
been, and when it has ended. Where no extension comes, it costs a few attributes.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from samovar.guest import extension_processes
from samovar.guest.exit_words import end_of_runtime
from samovar.guest.extensions import Extensions
from samovar.guest.instance_log import InstanceLog
from samovar.guest.platform_events import PlatformEvents
from samovar.guest.runtime_documents import document
from samovar.guest.shutdown import Shutdown
from samovar.guest.telemetry import Telemetry
from samovar.guest.telemetry_api import TelemetryApi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samovar.guest.child_process import ChildProcess
    from samovar.guest.http_listener import Router
    from samovar.guest.log_tee import LogTee
    from samovar.guest.phases import Phases
    from samovar.guest.reactor import Reactor
    from samovar.guest.wire import Meta

_FAILED = 1 << 8
"""As a wait status: exit status 1."""


class Extended:
    """See the module. To be made before the runtime joins `phases`. `end(status)` ends the instance
    with a wait status; after `mute` the worker is told nothing more; `hang_up` tells it that the
    instance is of no use any more."""

    def __init__(
        self,
        reactor: Reactor,
        phases: Phases,
        router: Router,
        env: Mapping[str, str],
        port: int,
        *,
        end: Callable[[int], None],
        mute: Callable[[], None],
        hang_up: Callable[[], None],
    ) -> None:
        self._phases = phases
        self._end = end
        self._mute = mute
        self._hang_up = hang_up
        self._status = 0
        self._program: ChildProcess | None = None
        self._program_pipe: LogTee | None = None
        self._telemetry = Telemetry(reactor)
        self._log = InstanceLog(reactor, self._telemetry)
        self._extensions = Extensions(reactor, phases, router, self._telemetry, self._log, env)
        self._events = PlatformEvents(phases, self._telemetry, self._extensions, env)
        TelemetryApi(router, self._extensions, self._telemetry, self._log, port)
        self._shutdown = Shutdown(
            reactor, self._extensions, self._telemetry, lambda: end(self._status)
        )
        self._extensions.on_failure = self._on_extension_failure
        self._extensions.on_end = self._shutdown.extension_ended
        phases.on_ready.append(self._on_ready)
        phases.before_answer.append(self._log.drain)
        phases.on_shutdown.append(self._on_shutdown)

    # ------------------------------------------------------------ the program

    def launch(self, layers: str | None, start_program: Callable[[], None]) -> None:
        """Start the external extensions that the layers bring; call `start_program` when all of
        them have registered, at once where there are none."""
        paths = extension_processes.find(layers)
        if not paths:
            start_program()
            return
        self._program_pipe = self._log.pipe("function")
        os.chdir("/")  # where they begin
        self._extensions.launch(paths, start_program)

    @property
    def program_output_fd(self) -> int | None:
        """What is to be the program's stdout and stderr; None: what is ours."""
        return self._program_pipe.child_fd if self._program_pipe else None

    def program_started(self, program: ChildProcess) -> None:
        """It runs."""
        self._program = program
        if self._program_pipe:
            self._program_pipe.close_child_fd()

    def program_ended(self, status: int) -> None:
        """It has ended; the instance does, sooner or later, with its status."""
        if self._program_pipe:
            self._program_pipe.finish()
        if self._shutdown.begun:
            self._shutdown.runtime_ended()
            return
        self._events.failed("Runtime.ExitError", end_of_runtime(status))
        self._shut_down_of_itself(status)

    # ------------------------------------------------------------ the end

    def _shut_down_of_itself(self, status: int) -> None:
        self._status = status
        if not self._extensions.any:
            self._end(status)
            return
        if self._phases.at_rest:
            self._hang_up()  # the worker is to send no more invocations
        self._shutdown.begin("failure", self._program)

    def _on_extension_failure(self, error_type: str, message: str) -> None:
        phases = self._phases
        if self._shutdown.begun:
            return
        self._events.failed(error_type, message)
        if not phases.ready:
            phases.fail_init(document(error_type, message))
            self._end(_FAILED)
            return
        if phases.unanswered:
            text = f"RequestId: {phases.unanswered} Error: {message}"
            self._log.write(f"{text}\n{error_type}\n".encode())
            phases.fail(error_type, document(error_type, text))
        self._mute()  # the runtime may yet answer, too
        self._shut_down_of_itself(_FAILED)

    def _on_ready(self, meta: Meta) -> None:
        if self._extensions.any:
            meta.update(shutdown=True, shutdown_ms=self._shutdown.limit_ms)

    def _on_shutdown(self, meta: Meta) -> None:
        if meta["reason"] != "spindown":
            self._events.end_runtime("Runtime.Unknown", status=meta["reason"])
        self._shutdown.begin(meta["reason"], self._program, meta["deadline_ms"])
