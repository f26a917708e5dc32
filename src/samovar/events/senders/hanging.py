"""Services that hang. Every event that is sent to one waits for as long as it may, in a place that
events of healthy functions could have; so while it hangs, one at a time finds out whether it
answers again, and the others are told at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from samovar.events.sending import SendError


class Hanging:
    """See the module's text."""

    def __init__(self) -> None:
        self._asked: dict[str, bool] = {}
        """Services that hang → whether somebody is finding out."""

    @contextlib.contextmanager
    def finding_out(self, service: str) -> Iterator[None]:
        """For the time of one sending: a `TimeoutError` means that it hangs, anything else that it
        has answered. Raises `SendError` where somebody else is finding out."""
        if self._asked.get(service):
            raise SendError(f"The service {service} has not answered lately.")
        if service in self._asked:
            self._asked[service] = True
        try:
            yield
        except TimeoutError:
            self._asked[service] = False
            raise
        except asyncio.CancelledError:
            if service in self._asked:
                self._asked[service] = False
            raise
        except Exception:
            self._asked.pop(service, None)
            raise
        self._asked.pop(service, None)
