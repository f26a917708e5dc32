"""Reading InvokeWithResponseStream as boto3 gives it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Streamed(NamedTuple):
    """What came: the pieces, and how the stream ended."""

    chunks: list[bytes]
    error: str | None
    details: Any

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


def invoke_streamed(client: Any, name: str, event: Any = None) -> Streamed:
    """One call, read to its end."""
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event))
    chunks, end = [], {}
    for item in answer["EventStream"]:
        if "PayloadChunk" in item:
            chunks.append(item["PayloadChunk"]["Payload"])
        else:
            end = item["InvokeComplete"]
    details = end.get("ErrorDetails")
    return Streamed(chunks, end.get("ErrorCode"), json.loads(details) if details else None)
