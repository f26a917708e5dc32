"""Public traces, as their owners have published them: which format a file has, its header says.

Azure 2019   invocations per function and minute, a file a day; with them, or without: average
             durations per function, memory per app
             https://github.com/Azure/AzurePublicDataset/blob/master/AzureFunctionsDataset2019.md
Azure 2021   app, func, end_timestamp, duration: a line a call
             https://github.com/Azure/AzurePublicDataset/blob/master/AzureFunctionsInvocationTrace2021.md
Huawei 2023  day, time, then a column a function: requests per second or per minute
             https://github.com/sir-lab/data-release

Files are read as streams and believed in nothing: lines, names, counts and what is kept of them
all have bounds. What a trace does not say (a cold start's length, with some its calls' and its
memory) is drawn from the distributions of `workload`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TextIO

from samovar.simulator.counted import CountedTrace, Counts
from samovar.simulator.listed import ListedTrace
from samovar.simulator.trace import Function, Trace, TraceError
from samovar.simulator.workload import MAX_DURATION_S, draw_duration, draw_function

MAX_LINE_CHARS = 1 << 20
MAX_NAME_CHARS = 300
MAX_FUNCTIONS = 2_000_000
MAX_LENGTH_S = 1000 * 86400.0
DAY_MINUTES = 1440
AZURE_2019_CALLS = ("HashOwner", "HashApp", "HashFunction", "Trigger", "1")
AZURE_2019_DURATIONS = ("HashOwner", "HashApp", "HashFunction", "Average")
AZURE_2019_MEMORY = ("HashOwner", "HashApp", "SampleCount", "AverageAllocatedMb")
AZURE_2021 = ("app", "func", "end_timestamp", "duration")
HUAWEI_2023 = ("day", "time")
NOTHING = ("", "nan")

Rows = Iterator[list[str]]


def read_trace(paths: Sequence[Path], seed: int, max_per_minute: float = math.inf) -> Trace:
    """Read the files of one trace; of those that have a day each, in their order. Where there are
    only counts, no more calls than `max_per_minute` of a function are made of any minute. Raises
    `TraceError` with the file and the line, `OSError` where it cannot be read."""
    reading = _Reading()
    for path in paths:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            lines = _Lines(file)
            try:
                reading.read(csv.reader(lines))
            except (ValueError, IndexError, OverflowError, csv.Error) as error:
                raise TraceError(f"{path}, line {lines.number}: {error}") from error
    return reading.trace(seed, max_per_minute)


class _Lines:
    """The lines of a file, with a bound on their length."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE_CHARS)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == MAX_LINE_CHARS:
            raise ValueError(f"it has more than {MAX_LINE_CHARS:,} characters")
        return line


class _Reading:
    """What has been read of a trace so far."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        """Function → its place in the trace."""
        self._duration_s: dict[str, float] = {}
        self._memory_mib: dict[str, float] = {}
        """By app."""
        self._counts: Counts | None = None
        self._listed: ListedTrace | None = None
        self._days = 0

    def read(self, rows: Rows) -> None:
        """One file."""
        header = tuple(next(rows, ()))
        formats: dict[tuple[str, ...], Callable[[Rows, tuple[str, ...]], None]] = {
            AZURE_2019_CALLS: self._azure_2019_calls,
            AZURE_2019_DURATIONS: self._azure_2019_durations,
            AZURE_2019_MEMORY: self._azure_2019_memory,
            AZURE_2021: self._azure_2021,
            HUAWEI_2023: self._huawei_2023,
        }
        for begin, read in formats.items():
            if header[: len(begin)] == begin:
                return read(rows, header)
        raise ValueError("no trace format has such a header (Azure 2019, Azure 2021, Huawei 2023)")

    def trace(self, seed: int, max_per_minute: float) -> Trace:
        """What the files were."""
        random = Random(seed)  # noqa: S311 (a simulation)
        functions = [self._function(name, random) for name in self._places]
        if self._listed is not None and self._counts is None:
            self._listed.finish(functions)
            return self._listed
        if self._counts is None or self._listed is not None:
            raise TraceError("the files have no calls, or calls in two formats")
        drawn = (self._duration_s.get(name) or draw_duration(random) for name in self._places)
        return CountedTrace(functions, list(drawn), self._counts, seed, max_per_minute)

    def _function(self, name: str, random: Random) -> Function:
        return draw_function(name, random, self._memory_mib.get(name.rpartition("/")[0]))

    def _place(self, name: str) -> int:
        if len(name) > MAX_NAME_CHARS:
            raise ValueError(f"a function's name has more than {MAX_NAME_CHARS} characters")
        place = self._places.setdefault(name, len(self._places))
        if place >= MAX_FUNCTIONS:
            raise ValueError(f"the trace has more than {MAX_FUNCTIONS:,} functions")
        return place

    # ------------------------------------------------------------ formats

    def _azure_2019_calls(self, rows: Rows, header: tuple[str, ...]) -> None:
        counts = self._counted(60.0)
        for owner, app, function, _, *minutes in rows:
            if len(minutes) != DAY_MINUTES:
                raise ValueError(f"it has {len(minutes)} minutes, not {DAY_MINUTES}")
            place = self._place(f"{owner}/{app}/{function}")
            for minute, calls in enumerate(minutes):
                if calls != "0":
                    counts.add(self._days * DAY_MINUTES + minute, place, _number(calls))
        self._days += 1

    def _azure_2019_durations(self, rows: Rows, header: tuple[str, ...]) -> None:
        for owner, app, function, average_ms, *_ in rows:
            name = f"{owner}/{app}/{function}"
            self._bound(self._duration_s, name)
            self._duration_s[name] = min(MAX_DURATION_S, _number(average_ms) / 1e3)

    def _azure_2019_memory(self, rows: Rows, header: tuple[str, ...]) -> None:
        for owner, app, _, average_mb, *_ in rows:
            name = f"{owner}/{app}"
            self._bound(self._memory_mib, name)
            self._memory_mib[name] = _number(average_mb)

    def _azure_2021(self, rows: Rows, header: tuple[str, ...]) -> None:
        listed = self._listed = self._listed or ListedTrace()
        for app, function, end_s, duration_s in rows:
            taken_s = min(MAX_DURATION_S, _number(duration_s))
            begun_s = max(0.0, _number(end_s) - taken_s)
            if begun_s > MAX_LENGTH_S:
                raise ValueError(f"{end_s} is more than {MAX_LENGTH_S:,.0f} seconds")
            listed.add(begun_s, self._place(f"{app}/{function}"), taken_s)

    def _huawei_2023(self, rows: Rows, header: tuple[str, ...]) -> None:
        places = [self._place(f"huawei/{name}") for name in header[2:]]
        first, second = next(rows, None), next(rows, None)
        if first is None or second is None:
            raise ValueError("it has less than two lines: how long a slot is cannot be known")
        slot_s = _number(second[1]) - _number(first[1])
        if slot_s not in (1.0, 60.0):
            raise ValueError(f"its lines are {slot_s:g} seconds apart, not 1 or 60")
        counts = self._counted(slot_s)
        for row in _chained(first, second, rows):
            at_s = _number(row[1])
            if at_s > MAX_LENGTH_S or len(row) != len(header):
                raise ValueError(f"it is too late, or has {len(row)} fields, not {len(header)}")
            for place, calls in zip(places, row[2:], strict=True):
                if calls.lower() not in NOTHING:
                    counts.add(int(at_s // slot_s), place, _number(calls))

    def _counted(self, slot_s: float) -> Counts:
        self._counts = self._counts or Counts(slot_s)
        if self._counts.slot_s != slot_s:
            raise ValueError("counts per second and per minute do not go together")
        return self._counts

    def _bound(self, known: dict[str, float], name: str) -> None:
        if len(known) >= MAX_FUNCTIONS or len(name) > MAX_NAME_CHARS:
            raise ValueError("there are too many functions, or a name is too long")


def _chained(first: list[str], second: list[str], rest: Rows) -> Rows:
    yield first
    yield second
    yield from rest


def _number(text: str) -> float:
    number = float(text)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{text!r} is no number from 0 on")
    return number
