"""Versions that are not current any more, of which requests may still come: let in, or resolved,
before they were superseded. They are served, and nothing is kept for them (pure)."""

from __future__ import annotations

from collections import OrderedDict

from samovar.model.function import VersionKey

MOST = 10_000
"""So many are remembered, the newest ones."""


class Superseded:
    """See the module's text."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._keys: OrderedDict[VersionKey, None] = OrderedDict()

    def add(self, key: VersionKey) -> None:
        """This code and configuration has been superseded, or deleted."""
        self._keys[key] = None
        self._keys.move_to_end(key)
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)

    def __contains__(self, key: VersionKey) -> bool:
        return key in self._keys
