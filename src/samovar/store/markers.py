"""Markers: where a listing goes on.

A marker holds the key of the last item that was given out, not an offset: what is created or
deleted in between shifts nothing. Clients are to treat it as opaque, and what they send is
checked.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from samovar.model.errors import ErrorCode, PlatformError

MAX_MARKER_CHARS = 1024


def write_marker(listing: str, *key: str | int) -> str:
    """The marker of a listing that goes on after `key`."""
    return base64.urlsafe_b64encode(json.dumps([listing, *key]).encode()).decode()


def read_marker(marker: str, listing: str, *types: type) -> list[Any]:
    """The key in a marker of this listing, of these types.

    Raises `PlatformError` INVALID_PARAMETER for any other text.
    """
    refused = PlatformError(ErrorCode.INVALID_PARAMETER, "Invalid pagination token")
    if len(marker) > MAX_MARKER_CHARS:
        raise refused
    try:
        parts = json.loads(base64.urlsafe_b64decode(marker.encode()))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise refused from error
    if not isinstance(parts, list) or len(parts) != len(types) + 1 or parts[0] != listing:
        raise refused
    key = parts[1:]
    for part, expected in zip(key, types, strict=True):
        if type(part) is not expected or (type(part) is int and not -1 <= part < 2**31):
            raise refused
        if isinstance(part, str) and not part.isprintable():
            raise refused
    return key
