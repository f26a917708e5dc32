"""Messages of AWS's binary event stream, as InvokeWithResponseStream answers with them.

    total length: u32 │ headers length: u32 │ CRC-32 of both │ headers │ payload │ CRC-32 of all
    a header: name length: u8 │ name │ 7 (a string) │ value length: u16 │ value

https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import struct
from binascii import crc32

import msgspec

CONTENT_TYPE = "application/vnd.amazon.eventstream"

MAX_DETAILS_CHARS = 128 * 1024
"""Of an error document, which a function may make as large as a response. With JSON's escapes the
event stays below the format's bound."""

_PRELUDE = struct.Struct("!II")
_CRC = struct.Struct("!I")
_STRING = 7


def message(headers: bytes, payload: bytes) -> bytes:
    """Return one message. `headers` are encoded already: see `encode_headers`."""
    prelude = _PRELUDE.pack(16 + len(headers) + len(payload), len(headers))
    crc = crc32(prelude)
    head = prelude + _CRC.pack(crc) + headers
    return b"".join((head, payload, _CRC.pack(crc32(payload, crc32(head)))))


def encode_headers(values: dict[str, str]) -> bytes:
    """Return headers whose values are all strings."""
    parts = []
    for name, value in values.items():
        raw_name, raw = name.encode(), value.encode()
        parts.append(struct.pack("!B", len(raw_name)) + raw_name)
        parts.append(struct.pack("!BH", _STRING, len(raw)) + raw)
    return b"".join(parts)


def _event_headers(kind: str, content_type: str) -> bytes:
    return encode_headers(
        {":message-type": "event", ":event-type": kind, ":content-type": content_type}
    )


_CHUNK = _event_headers("PayloadChunk", "application/octet-stream")
_COMPLETE = _event_headers("InvokeComplete", "application/json")


def payload_chunk(part: bytes) -> bytes:
    """The next bytes of a response."""
    return message(_CHUNK, part)


def invoke_complete(
    error_code: str | None = None, error_details: str | None = None, log_result: str | None = None
) -> bytes:
    """The end of a response; `log_result` is in base64.

    https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStreamCompleteEvent.html"""
    members = {
        "ErrorCode": error_code,
        "ErrorDetails": error_details[:MAX_DETAILS_CHARS] if error_details else error_details,
        "LogResult": log_result,
    }
    given = {name: value for name, value in members.items() if value is not None}
    return message(_COMPLETE, msgspec.json.encode(given))
