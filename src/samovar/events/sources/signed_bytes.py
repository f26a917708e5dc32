"""Bytes as AWS's pollers write them in headers: a list of numbers from -128 to 127.

They are written in Java, whose bytes have a sign; AWS's libraries turn them back.
"""

from __future__ import annotations


def signed_bytes(content: bytes) -> list[int]:
    """`b"\\xff"` → `[-1]`."""
    return [byte - 256 if byte > 127 else byte for byte in content]
