"""The answer to a request whose handler has raised.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samovar.guest import faults
from samovar.guest.payload import encode_own
from samovar.guest.wire import ERROR

if TYPE_CHECKING:
    from collections.abc import Callable


def error_answer(
    error: Exception, request_id: str, log: Callable[[str], None]
) -> tuple[int, bytes, bytes]:
    """Return kind, meta and body of the frame to send; tell `log`, too."""
    document = faults.document(error, request_id)
    log(faults.log_text(document))
    return ERROR, encode_own({"type": document["errorType"]}), encode_own(document)
