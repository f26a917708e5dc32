"""The Lambda Extensions API, version 2020-01-01: who extends an instance, and what they are told.

How this works. *External* extensions are programs in /opt/extensions, each a process of its own
that is started before the runtime; *internal* ones are threads of the runtime, which register by a
name of their choice. Both call over the same HTTP as the runtime:

    POST /extension/register       who it is, and for what it asks
    GET  /extension/event/next     at rest; answered by the next INVOKE or SHUTDOWN
    POST /extension/init/error     it cannot go on, in init
    POST /extension/exit/error     or later

Each is a part of the instance's phases: init waits for all of them, an invocation for those that
asked for INVOKE. When one fails or ends, the instance does, with AWS's type of error.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html,
https://github.com/aws/aws-lambda-runtime-interface-emulator
Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from samovar.guest import extension_documents as documents
from samovar.guest import extension_processes as processes
from samovar.guest import telemetry_events
from samovar.guest.child_process import ChildProcess
from samovar.guest.exit_words import end_of_extension
from samovar.guest.extension import Extension
from samovar.guest.extension_documents import INVOKE, MAX_EXTENSIONS, RefusedError
from samovar.guest.extension_processes import LaunchError
from samovar.guest.extension_state import STARTED, InvalidTransitionError
from samovar.guest.runtime_documents import document, new_trace_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samovar.guest.http_listener import Exchange, Router
    from samovar.guest.instance_log import InstanceLog
    from samovar.guest.phases import Phases
    from samovar.guest.reactor import Reactor
    from samovar.guest.telemetry import Telemetry
    from samovar.guest.wire import Meta

    OnFailure = Callable[[str, str], None]

API = "/2020-01-01/extension"

_IDENTIFIER = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LAST_WORDS_S = 1.0
"""For so long after it has reported an error we wait for its end, of which we then tell."""


class Extensions:
    """Adds its routes to `router`. `on_failure(error_type, message)` is called when the first of
    them fails, `on_end` when an external one has ended."""

    def __init__(
        self,
        reactor: Reactor,
        phases: Phases,
        router: Router,
        telemetry: Telemetry,
        log: InstanceLog,
        env: Mapping[str, str],
    ) -> None:
        self._reactor = reactor
        self._phases = phases
        self._telemetry = telemetry
        self._log = log
        self._env = env
        self._extensions: dict[str, Extension] = {}
        self._open = True
        """Whether more may register."""
        self._fatal = ""
        """The type of the first failure, from when it is known."""
        self._failed = False
        self._told_of_init = False
        self._on_registered: Callable[[], None] | None = None
        self.external: list[Extension] = []
        self.on_failure: OnFailure = lambda error_type, message: None
        self.on_end: Callable[[], None] = lambda: None
        phases.on_invoke.append(self._on_invoke)
        router.add("POST", f"{API}/register", self._register)
        router.add("GET", f"{API}/event/next", self._next)
        router.add("POST", f"{API}/init/error", self._init_error)
        router.add("POST", f"{API}/exit/error", self._exit_error)

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._extensions)

    @property
    def any_internal(self) -> bool:
        """Whether there are internal ones."""
        return len(self._extensions) > len(self.external)

    # ------------------------------------------------------------ processes

    def launch(self, paths: list[str], on_registered: Callable[[], None]) -> None:
        """Start external extensions; call `on_registered` when each of them has registered."""
        self._on_registered = on_registered
        self.external = [Extension(os.path.basename(path), self._phases) for path in paths]
        self._extensions = {extension.name: extension for extension in self.external}
        for number, path in enumerate(paths):
            extension = self.external[number]
            try:
                if number == MAX_EXTENSIONS:
                    raise LaunchError(f"Extension limit ({MAX_EXTENSIONS}) reached")
                self._start(path, extension)
            except LaunchError as error:
                extension.state.fail_launch()
                extension.error_type = "Extension.LaunchError"
                self._fail("Extension.LaunchError", str(error))
                return
        self._all_registered()

    def _start(self, path: str, extension: Extension) -> None:
        tee = self._log.pipe("extension")
        try:
            pid = processes.start(path, self._env, tee.child_fd)
        finally:
            tee.close_child_fd()

        def ended(status: int) -> None:
            tee.finish()
            self._fail(self._fatal or "Extension.Crash", end_of_extension(status))
            self.on_end()

        extension.process = ChildProcess(self._reactor, pid, ended)

    def _all_registered(self) -> None:
        if self._on_registered and all(e.state.name != STARTED for e in self.external):
            on_registered, self._on_registered = self._on_registered, None
            on_registered()

    def _fail(self, error_type: str, message: str) -> None:
        if not self._failed:
            self._failed = True
            self.on_failure(error_type, message)

    # ------------------------------------------------------------ phases

    def close_registration(self) -> None:
        """The runtime has asked for its first event: who comes now is too late."""
        self._open = False

    def tell_of_init(self) -> None:
        """Init is over, well or not: what AWS writes of each extension into the log. Once: several
        of them may fail it, and the runtime."""
        if self._told_of_init:
            return
        self._told_of_init = True
        for extension in self._extensions.values():
            told = extension.name, extension.state.name, extension.events, extension.error_type
            self._log.write(documents.log_line(*told))
            self._telemetry.publish("platform.extension", telemetry_events.extension(*told))

    def _on_invoke(self, meta: Meta, body: bytes | bytearray) -> None:
        if not self._extensions:
            return
        meta.setdefault("trace_id", new_trace_id())
        event = documents.invoke_event(meta)
        for extension in self._extensions.values():
            if INVOKE in extension.events:
                extension.tell(event)

    # ------------------------------------------------------------ the API

    def identify(self, exchange: Exchange) -> Extension | None:
        """Who is asking; None where that has been refused."""
        identifier = exchange.request.headers.get("lambda-extension-identifier", "")
        try:
            if not identifier:
                raise RefusedError(
                    "Extension.MissingExtensionIdentifier",
                    "Missing Lambda-Extension-Identifier header",
                )
            if not _IDENTIFIER.fullmatch(identifier):
                raise RefusedError(
                    "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"
                )
            for extension in self._extensions.values():
                if extension.identifier == identifier.lower():
                    return extension
            message = f"Unknown extension {identifier}"
            raise RefusedError("Extension.UnknownExtensionIdentifier", message)
        except RefusedError as error:
            _refuse(exchange, error)
            return None

    def _register(self, exchange: Exchange) -> None:
        headers = exchange.request.headers
        name = headers.get("lambda-extension-name", "")[: documents.MAX_NAME_CHARS]
        try:
            if not name:
                raise RefusedError("Extension.InvalidExtensionName", "Empty extension name")
            known = self._extensions.get(name)
            external = known in self.external
            events = self._parse(exchange.request.body, external)
            extension = known if known and external else self._add_internal(name)
            _move(extension.state.register)
        except RefusedError as error:
            return _refuse(exchange, error)
        extension.events = events
        body = documents.registration(self._env, headers.get("lambda-extension-accept-feature", ""))
        exchange.answer(200, body, headers={"Lambda-Extension-Identifier": extension.identifier})
        return self._all_registered()

    def _parse(self, body: bytes | bytearray, external: bool) -> list[str]:
        return documents.parse_registration(body, external, invoked=not self._phases.takes_many)

    def _add_internal(self, name: str) -> Extension:
        if not self._open:
            message = "Extension registration closed already"
            raise RefusedError("Extension.RegistrationClosed", message)
        if name in self._extensions:
            message = "Extension with this name already registered"
            raise RefusedError("Extension.InvalidExtensionState", message)
        if len(self._extensions) >= MAX_EXTENSIONS:
            message = f"Extension limit ({MAX_EXTENSIONS}) reached"
            raise RefusedError("Extension.TooManyExtensions", message)
        extension = self._extensions[name] = Extension(name, self._phases)
        return extension

    def _next(self, exchange: Exchange) -> None:
        extension = self.identify(exchange)
        if extension:
            try:
                _move(lambda: extension.next(exchange))
            except RefusedError as error:
                _refuse(exchange, error)

    def _init_error(self, exchange: Exchange) -> None:
        self._error(exchange, "Extension.InitError")

    def _exit_error(self, exchange: Exchange) -> None:
        self._error(exchange, "Extension.ExitError")

    def _error(self, exchange: Exchange, fatal: str) -> None:
        extension = self.identify(exchange)
        if extension is None:
            return None
        state = extension.state
        header = "Lambda-Extension-Function-Error-Type"
        try:
            if not exchange.request.headers.get(header.lower()):
                raise RefusedError("Extension.MissingHeader", f"{header} not found")
            _move(state.fail_init if fatal == "Extension.InitError" else state.fail_exit)
        except RefusedError as error:
            return _refuse(exchange, error)
        extension.error_type = exchange.request.headers[header.lower()][:512]
        exchange.answer(202, b'{"status":"OK"}\n')
        self._fatal = self._fatal or fatal
        # Its end is told as it was; who reports and stays is not waited for.
        self._reactor.later(
            _LAST_WORDS_S if extension.process else 0.0,
            lambda: self._fail(self._fatal, extension.error_type),
        )
        return None


def _move(step: Callable[[], None]) -> None:
    try:
        step()
    except InvalidTransitionError as error:
        raise RefusedError("Extension.InvalidExtensionState", str(error)) from error


def _refuse(exchange: Exchange, error: RefusedError) -> None:
    exchange.answer(403, document(error.error_type, str(error)) + b"\n")
