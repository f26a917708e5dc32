"""Decompression with a bound. Import it lazily: it loads aiokafka.

aiokafka decompresses whatever a broker sends, to any size: a megabyte of zstd can be ten gigabytes
of zeros, and whoever may write to a topic can write that. Its decoders have no bound to set, so
`bound_decompression` puts these in their place. Where a newer aiokafka looks for its decoders
somewhere else, that fails, rather than leave the bound out.
"""

from __future__ import annotations

import gzip
import importlib
import io
import zlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import cramjam
from aiokafka import codec
from aiokafka.errors import KafkaError
from aiokafka.record import default_records

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Of one batch of records as its producer has compressed it, after decompression. Brokers take
batches of 1 MB unless told otherwise."""

SMALLEST_BUFFER_BYTES = 64 * 1024
FIRST_GUESS = 8
"""How many times as large as the compressed batch the first buffer is."""
GROWTH = 4

Decoder = Callable[[Any], bytes]

_snappy_decode: Decoder = codec.snappy_decode


class UnreadableBatchError(KafkaError):
    """A batch that does not fit into the bound, or cannot be decompressed."""


def bound_decompression() -> None:
    """Have aiokafka decompress with `DECODERS`. Idempotent."""
    for module in _modules():
        for name, decoder in DECODERS.items():
            if name == "zstd_decode" and module.__name__.endswith("legacy_records"):
                continue  # zstd is younger than these
            if not hasattr(module, name):
                raise RuntimeError(f"{module.__name__} has no {name} to bound")
            setattr(module, name, decoder)


def _modules() -> list[ModuleType]:
    """Those that decompress: of records of today and of old, in Python and in C."""
    compiled = default_records.DefaultRecordBatch.__module__.rpartition(".")[0]
    packages = {"aiokafka.record", compiled}
    return [
        importlib.import_module(f"{package}.{name}")
        for package in sorted(packages)
        for name in ("default_records", "legacy_records")
    ]


def _gzip(payload: Any) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(payload), mode="r") as file:
            content = file.read(MAX_BATCH_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableBatchError("a batch of records is no gzip") from error
    if len(content) > MAX_BATCH_BYTES:
        raise _too_large()
    return content


def _into_buffers(decompress_into: Callable[[Any, bytearray], int]) -> Decoder:
    """A decoder that tries buffers of growing size, up to the bound."""

    def decode(payload: Any) -> bytes:
        size = max(SMALLEST_BUFFER_BYTES, len(payload) * FIRST_GUESS)
        while size < MAX_BATCH_BYTES:
            buffer = bytearray(size)
            try:
                return bytes(memoryview(buffer)[: decompress_into(payload, buffer)])
            except cramjam.DecompressionError:
                size *= GROWTH
        buffer = bytearray(MAX_BATCH_BYTES)
        try:
            return bytes(memoryview(buffer)[: decompress_into(payload, buffer)])
        except cramjam.DecompressionError as error:
            raise _too_large() from error

    return decode


def _snappy(payload: Any) -> bytes:
    """Snappy says beforehand how much there will be."""
    try:
        sizes = map(cramjam.snappy.decompress_raw_len, _snappy_blocks(memoryview(payload)))
        if sum(sizes) > MAX_BATCH_BYTES:
            raise _too_large()
        return _snappy_decode(payload)
    except (cramjam.DecompressionError, ValueError) as error:
        raise UnreadableBatchError("a batch of records is no snappy") from error


def _snappy_blocks(view: memoryview) -> list[memoryview]:
    if not codec._detect_xerial_stream(view):
        return [view]
    blocks, at = [], 16
    while at < len(view):
        size = int.from_bytes(view[at : at + 4], "big", signed=True)
        if size < 0:
            raise ValueError("a block of negative size")
        blocks.append(view[at + 4 : at + 4 + size])
        at += 4 + size
    return blocks


def _too_large() -> UnreadableBatchError:
    return UnreadableBatchError(
        f"a batch of records is no batch, or has more than {MAX_BATCH_BYTES} bytes"
    )


DECODERS: Mapping[str, Decoder] = {
    "gzip_decode": _gzip,
    "snappy_decode": _snappy,
    "lz4_decode": _into_buffers(cramjam.lz4.decompress_into),
    "zstd_decode": _into_buffers(cramjam.zstd.decompress_into),
}
