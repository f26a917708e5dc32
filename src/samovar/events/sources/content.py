"""What the sender of a record wrote, as filters see it. Pure."""

from __future__ import annotations

import functools
from typing import Any

import msgspec


class Content:
    """A field's content, decoded when it is first looked at."""

    def __init__(self, raw: bytes | str | None) -> None:
        self._raw = raw

    @functools.cached_property
    def document(self) -> Any:
        """A JSON object or array; None: it is neither."""
        if self._raw is None:
            return None
        try:
            document = msgspec.json.decode(self._raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None
        return document if isinstance(document, dict | list) else None

    @functools.cached_property
    def text(self) -> str | None:
        """What it is if it is not JSON; None: it is, or is no text."""
        if self.document is not None:
            return None
        try:
            return self._raw.decode() if isinstance(self._raw, bytes) else self._raw
        except UnicodeDecodeError:
            return None
