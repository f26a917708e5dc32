"""One extension: its state, its process if it has one, and the event that it is to get next.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from samovar.guest.extension_documents import INVOKE
from samovar.guest.extension_state import ExtensionState

if TYPE_CHECKING:
    from samovar.guest.child_process import ChildProcess
    from samovar.guest.http_listener import Exchange
    from samovar.guest.phases import Phases


class Extension:
    """See the module. It takes part in `phases` from now on."""

    def __init__(self, name: str, phases: Phases) -> None:
        self.name = name
        self.identifier = str(uuid.uuid4())
        self.state = ExtensionState(name)
        self.events: list[str] = []
        """For which it has registered."""
        self.error_type = ""
        """Of what it reported, in its own words, or in ours where it could not be started."""
        self.process: ChildProcess | None = None
        """Of an external one, once it has been started."""
        self._part = phases.join()
        self._waiting: Exchange | None = None
        self._event: bytes | None = None
        """Until it is sent."""

    def next(self, exchange: Exchange) -> None:
        """It asks for what comes next. Raises `InvalidTransitionError`."""
        self.state.ready()
        self._waiting = exchange
        exchange.on_gone = self._gone
        if INVOKE not in self.events:
            self._part.leave()
        elif self._event is None:  # else one that did not arrive is still to be taken
            self._part.rest()
        self._deliver()

    def tell(self, event: bytes) -> None:
        """Have an event answer its next question. One that it has not asked for yet is replaced."""
        self._event = event
        self._deliver()

    def _deliver(self) -> None:
        if self._waiting is None or self._event is None:
            return
        exchange, event = self._waiting, self._event
        self._waiting = self._event = None

        def not_taken() -> None:
            self.state.withdraw()
            self._event = self._event or event

        exchange.on_sent = self.state.run
        exchange.on_gone = not_taken
        headers = {"Lambda-Extension-Event-Identifier": str(uuid.uuid4())}
        exchange.answer(200, event, headers=headers)

    def _gone(self) -> None:
        self._waiting = None
        self.state.withdraw()
