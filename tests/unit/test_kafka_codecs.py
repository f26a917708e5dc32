"""Decompression of Kafka's records, with a bound."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys

import pytest
from aiokafka import codec

from samovar.events.sources.kafka.codecs import (
    DECODERS,
    MAX_BATCH_BYTES,
    UnreadableBatchError,
)

ENCODERS = {
    "gzip_decode": codec.gzip_encode,
    "snappy_decode": codec.snappy_encode,
    "lz4_decode": codec.lz4_encode,
    "zstd_decode": codec.zstd_encode,
}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("content", [b"tea", b"tea" * 100_000, random.Random(1).randbytes(200_000)])
def test_what_was_compressed_comes_back(name, content):
    assert DECODERS[name](memoryview(ENCODERS[name](content))) == content


def test_snappy_without_blocks_comes_back():
    compressed = codec.snappy_encode(b"tea" * 1000, xerial_compatible=False)
    assert DECODERS["snappy_decode"](compressed) == b"tea" * 1000


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_larger_than_the_bound_is_refused(name):
    bomb = ENCODERS[name](bytes(MAX_BATCH_BYTES + 1))
    with pytest.raises(UnreadableBatchError):
        DECODERS[name](bomb)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"no compression at all, but text"])
def test_what_is_not_compressed_is_refused_or_empty(name, content):
    with contextlib.suppress(UnreadableBatchError):
        assert DECODERS[name](content) == b""


IN_USE = """
from aiokafka.record import default_records
from aiokafka.record.memory_records import MemoryRecords
from samovar.events.sources.kafka.codecs import DECODERS, bound_decompression

def decoded():
    builder = default_records.DefaultRecordBatchBuilder(2, KIND, 0, -1, -1, -1, 1 << 30)
    builder.append(0, 0, None, bytes(70 << 20), [])
    batch = MemoryRecords(bytes(builder.build())).next_batch()
    return sum(len(record.value) for record in batch)

assert decoded() == 70 << 20
bound_decompression()
try:
    decoded()
except Exception as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_aiokafka_uses_it_for_each_kind_of_compression(kind):
    """In a process of its own: it changes aiokafka for good."""
    code = IN_USE.replace("KIND", str(kind))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "UnreadableBatchError"
