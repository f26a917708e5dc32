"""Events in, results out: JSON as AWS's Python runtime reads and writes it.

Its encoder writes a `Decimal` as a number, and from Python 3.12 on leaves characters outside ASCII
as they are. https://docs.aws.amazon.com/lambda/latest/dg/python-handler.html
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import threading
from decimal import Decimal
from typing import TYPE_CHECKING

from samovar.guest.faults import MARSHAL_ERROR, RESPONSE_SIZE_TOO_LARGE, UNMARSHAL_ERROR, FaultError

if TYPE_CHECKING:
    from typing import Any

MAX_RESPONSE_BYTES = 6_291_556
"""AWS's limit on a response: 6 MiB and 100 bytes."""

_loads = json.loads
_scan = json.JSONDecoder().raw_decode
_dumps = json.JSONEncoder().encode


def decode_event(body: bytes | bytearray) -> Any:
    """Return the event. `FaultError` Runtime.UnmarshalError where it is not JSON."""
    if not body:
        return {}
    try:
        text = str(body, "utf-8")
        event, end = _scan(text)
        if end == len(text):
            return event
    except Exception:  # noqa: S110 - the slow way words it, or reads what the fast way does not
        pass
    try:
        return _loads(body)
    except Exception as error:
        raise FaultError(UNMARSHAL_ERROR, f"Unable to unmarshal input: {error}") from error


def encode_result(result: Any) -> bytes:
    """Return a result as JSON text.

    `FaultError` Runtime.MarshalError where it cannot be, Function.ResponseSizeTooLarge where it is
    over `MAX_RESPONSE_BYTES`."""
    try:
        body = _encode(result)
    except Exception as error:
        raise FaultError(MARSHAL_ERROR, f"Unable to marshal response: {error}") from error
    if len(body) > MAX_RESPONSE_BYTES:
        raise FaultError(
            RESPONSE_SIZE_TOO_LARGE,
            "Response payload size exceeded maximum allowed payload size"
            f" ({MAX_RESPONSE_BYTES} bytes).",
            bare=True,
        )
    return body


def encode_own(document: dict[str, Any]) -> bytes:
    """Return as JSON text what is ours: plain values, and text of any origin."""
    return _dumps(document).encode()


class _Encoder(json.JSONEncoder):
    """JSON with decimals.

    The standard encoder cannot be handed the text of a number, so a decimal goes out as a string
    that begins with a secret mark, and `unmark` strips the quotes and the mark afterwards: only
    functions that return decimals pay for it. It may be used by many threads at once."""

    def __init__(self) -> None:
        super().__init__(ensure_ascii=sys.version_info < (3, 12))
        self.mark = ""
        self._marked = re.compile("")
        self._marking = threading.Lock()

    def default(self, o: Any) -> Any:
        if isinstance(o, Decimal):
            if o.is_nan():
                return math.nan
            return (self.mark or self._make_mark()) + str(o)
        return super().default(o)

    def _make_mark(self) -> str:
        """Once, and not before it is forked: no other instance has the same."""
        with self._marking:
            if not self.mark:
                mark = os.urandom(16).hex()
                self._marked = re.compile(f'"{mark}([^"]*)"')
                self.mark = mark
        return self.mark

    def unmark(self, text: str) -> str:
        """Turn marked strings into numbers."""
        return self._marked.sub(r"\1", text)


_encoder = _Encoder()
_encode_text = _encoder.encode


def _encode(result: Any) -> bytes:
    text = _encode_text(result)
    if _encoder.mark and _encoder.mark in text:
        text = _encoder.unmark(text)
    return text.encode()
