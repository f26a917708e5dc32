"""Which hosts event sources may be on: a server that connects to whatever host a client of its API
names could be used to reach what that client cannot.

A rule is `host` or `host:port`; `*` in a host stands for any characters, and `[…]` goes around an
IPv6 address. Rules compare names as they are given: what a name resolves to is its domain's affair.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_PORT = 65535

_HOST = r"(?:\[(?P<address>[0-9A-Fa-f:.*]+)\]|(?P<name>[0-9A-Za-z._*-]+))"
_PLACE = re.compile(rf"{_HOST}(?::(?P<port>[0-9]{{1,5}}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """A host, without brackets and in lower case, and a port; None: none is given."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """`host`, `host:port`, `[address]:port`. Raises `ValueError` for anything else."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise ValueError(f"host or host:port, not {text[:300]!r}")
        port = None if match["port"] is None else int(match["port"])
        if port is not None and not 0 < port <= MAX_PORT:
            raise ValueError(f"ports from 1 to {MAX_PORT}, not {text[:300]!r}")
        return cls((match["address"] or match["name"]).lower(), port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostRules:
    """Rules, any of which allows a place."""

    rules: Sequence[Place]

    @classmethod
    def parse(cls, text: str) -> HostRules:
        """Rules separated by commas; none at all allow nothing. Raises `ValueError`."""
        parts = (part.strip() for part in text.split(","))
        return cls(tuple(Place.parse(part) for part in parts if part))

    def allow(self, place: Place) -> bool:
        """Whether there may be a connection to this place. Pure, bounded in time."""
        return any(
            rule.port in (None, place.port) and _matches(rule.host, place.host)
            for rule in self.rules
        )


def _matches(pattern: str, host: str) -> bool:
    """Each part between stars is found as early as it can be: no other choice finds more."""
    first, *parts = pattern.split("*")
    if not parts:
        return first == host
    if not host.startswith(first):
        return False
    last = parts.pop()
    at = len(first)
    for part in parts:
        found = host.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(host) - at >= len(last) and host.endswith(last)
