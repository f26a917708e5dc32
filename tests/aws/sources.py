"""Event source mappings for tests: made, waited for, deleted; and what their functions saw."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar

from tests.server import Server

DEADLINE_S = 60.0

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], *, deadline_s: float = DEADLINE_S) -> Found:
    """What `look` returns, as soon as that is something; fails where it stays nothing."""
    give_up_at = time.monotonic() + deadline_s
    while not (found := look()):
        assert time.monotonic() < give_up_at, f"nothing in {deadline_s} s: {look}"
        time.sleep(0.05)
    return found


class Mappings:
    """Makes mappings on a server, and deletes them at the end."""

    def __init__(self, client: Any, server: Server) -> None:
        self.client = client
        self._server = server
        self._uuids: list[str] = []

    def create(self, **params: Any) -> str:
        """Create a mapping, wait till it is enabled (or disabled, if asked for); its UUID."""
        created = self.client.create_event_source_mapping(**params)
        self.adopt(created["UUID"])
        state = "Disabled" if params.get("Enabled") is False else "Enabled"
        self.await_state(created["UUID"], state)
        uuid: str = created["UUID"]
        return uuid

    def adopt(self, uuid: str) -> None:
        """Delete this one, too, at the end."""
        self._uuids.append(uuid)

    def get(self, uuid: str) -> dict[str, Any]:
        """As GetEventSourceMapping has it."""
        found: dict[str, Any] = self.client.get_event_source_mapping(UUID=uuid)
        return found

    def await_state(self, uuid: str, state: str) -> None:
        """Return once a mapping is in a state."""
        eventually(lambda: self.get(uuid)["State"] == state)

    def await_result(self, uuid: str, part: str) -> None:
        """Return once its LastProcessingResult has `part` in it."""
        eventually(lambda: part in self.get(uuid)["LastProcessingResult"])

    def delete(self, uuid: str) -> None:
        """Delete it, and wait till it has gone."""
        eventually(lambda: self.get(uuid)["State"] in ("Enabled", "Disabled", "Deleting"))
        self.client.delete_event_source_mapping(UUID=uuid)
        eventually(lambda: self.is_gone(uuid))

    def close(self) -> None:
        """Delete those that are still there."""
        for uuid in self._uuids:
            if not self.is_gone(uuid):
                self.delete(uuid)
        self._uuids.clear()

    def printed(self, function: str, word: str = "EVENT") -> list[Any]:
        """The JSON that a function has printed after `word`, line by line."""
        url = f"{self._server.endpoint}/_samovar/logs/{function}?tail_bytes=10000000"
        with urllib.request.urlopen(url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return [json.loads(line.split(word + " ", 1)[1]) for line in lines if word + " " in line]

    def printed_events(self, function: str, count: int, word: str = "EVENT") -> list[Any]:
        """Wait till a function has printed so many."""
        try:
            return eventually(
                lambda: found if len(found := self.printed(function, word)) >= count else []
            )
        except AssertionError as error:
            mappings = self.client.list_event_source_mappings(FunctionName=function)
            shown = [each["LastProcessingResult"] for each in mappings["EventSourceMappings"]]
            raise AssertionError(f"{shown}\n{self._server.stderr()[-2000:]}") from error

    def is_gone(self, uuid: str) -> bool:
        """Whether there is no such mapping."""
        try:
            self.get(uuid)
        except self.client.exceptions.ResourceNotFoundException:
            return True
        return False
