"""Public trace formats, by small samples; and files that mean harm."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from samovar.simulator import counted, listed, trace_files
from samovar.simulator.trace import Trace, TraceError
from samovar.simulator.trace_files import read_trace

MINUTES = ",".join(str(minute) for minute in range(1, 1441))
AZURE_2019 = f"HashOwner,HashApp,HashFunction,Trigger,{MINUTES}\n"
AZURE_2021 = "app,func,end_timestamp,duration\n"


def a_day(*counts: int) -> str:
    """The minutes of a day that begins with these."""
    return ",".join(str(count) for count in (*counts, *[0] * (1440 - len(counts))))


def read(folder: Path, *texts: str, max_per_minute: float = 1e9) -> Trace:
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.csv")
        paths[-1].write_text(text)
    return read_trace(paths, seed=1, max_per_minute=max_per_minute)


def per_minute(trace: Trace) -> Counter[tuple[str, int]]:
    """Function and minute → calls."""
    return Counter(
        (trace.functions[call.function].name, int(call.at_s // 60)) for call in trace.calls()
    )


def test_azure_2019_has_calls_per_minute(tmp_path: Path) -> None:
    text = f"{AZURE_2019}o,a,f,timer,{a_day(2, 0, 1)}\no,a,g,http,{a_day(0, 3)}\n"
    trace = read(tmp_path, text)
    assert per_minute(trace) == {("o/a/f", 0): 2, ("o/a/f", 2): 1, ("o/a/g", 1): 3}
    assert trace.length_s == 180.0


def test_a_second_file_is_the_next_day(tmp_path: Path) -> None:
    day = f"{AZURE_2019}o,a,f,timer,{a_day(1)}\n"
    assert per_minute(read(tmp_path, day, day)) == {("o/a/f", 0): 1, ("o/a/f", 1440): 1}


def test_durations_and_memory_come_in_files_of_their_own(tmp_path: Path) -> None:
    trace = read(
        tmp_path,
        f"{AZURE_2019}o,a,f,timer,{a_day(60)}\n",
        "HashOwner,HashApp,HashFunction,Average,Count,Minimum\no,a,f,30000,60,1\n",
        "HashOwner,HashApp,SampleCount,AverageAllocatedMb,x\no,a,9,512.4,1\n",
    )
    assert trace.functions[0].memory_mib == 512
    durations_s = [call.duration_s for call in trace.calls()]
    assert 20.0 < sum(durations_s) / len(durations_s) < 45.0


def test_what_is_periodic_stays_periodic(tmp_path: Path) -> None:
    text = f"{AZURE_2019}o,a,f,timer,{a_day(*[1, 0, 0, 0, 0] * 5)}\n"
    times = [call.at_s for call in read(tmp_path, text).calls()]
    assert [round(b - a) for a, b in itertools.pairwise(times)] == [300] * 4


def test_the_busy_are_thinned_where_that_is_asked_for(tmp_path: Path) -> None:
    text = f"{AZURE_2019}o,a,f,http,{a_day(1000, 2)}\n"
    assert per_minute(read(tmp_path, text, max_per_minute=6)) == {
        ("o/a/f", 0): 6,
        ("o/a/f", 1): 2,
    }


def test_azure_2021_has_a_line_a_call_that_says_when_it_ended(tmp_path: Path) -> None:
    trace = read(tmp_path, f"{AZURE_2021}a,f,100.5,10.5\na,g,95.0,45.0\na,f,100.0,1.0\n")
    calls = [
        (trace.functions[call.function].name, call.at_s, call.duration_s) for call in trace.calls()
    ]
    assert calls == [("a/g", 0.0, 45.0), ("a/f", 40.0, 10.5), ("a/f", 49.0, 1.0)]


@pytest.mark.parametrize(("step", "minutes"), [(60, [0, 1]), (1, [0, 0])])
def test_huawei_2023_has_a_column_a_function(step: int, minutes: list[int], tmp_path: Path) -> None:
    trace = read(tmp_path, f"day,time,28,33\n0,0,2.0,NaN\n0,{step},,1.0\n")
    assert per_minute(trace) == {("huawei/28", minutes[0]): 2, ("huawei/33", minutes[1]): 1}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "line 0: no trace format"),
        ("a,b,c\n1,2,3\n", "line 1: no trace format"),
        (f"{AZURE_2019}o,a,f,timer,1,2\n", "line 2: it has 2 minutes"),
        (f"{AZURE_2019}o,a\n", "line 2: not enough values"),
        (f"{AZURE_2019}o,a,f,timer,{a_day(-1)}\n", "'-1' is no number"),
        (f"{AZURE_2019}o,a,f,timer,{a_day(10**9)}\n", "no number of calls from 0 to 1,000,000"),
        (f"{AZURE_2019}o,a,{'f' * 400},timer,{a_day(1)}\n", "a function's name has more than"),
        (f"{AZURE_2021}a,f,nan,1\n", "'nan' is no number"),
        (f"{AZURE_2021}a,f,1e300,1\n", "1e300 is more than"),
        (f"{AZURE_2021}a,f,x,1\n", "could not convert string to float: 'x'"),
        ("day,time,1\n0,0,1\n0,7,1\n", "lines are 7 seconds apart"),
        ("day,time,1\n0,0,1\n", "less than two lines"),
        ("day,time,1\n0,0,1\n0,60,1,5\n", "has 4 fields, not 3"),
        ("x" * (1 << 21), "more than 1,048,576 characters"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=what):
        read(tmp_path, text)


def test_calls_in_two_formats_are_no_trace(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="calls in two formats"):
        read(tmp_path, f"{AZURE_2019}o,a,f,x,{a_day(1)}\n", f"{AZURE_2021}a,f,2,1\n")


def test_durations_alone_are_no_trace(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no calls"):
        read(tmp_path, "HashOwner,HashApp,HashFunction,Average\no,a,f,5\n")


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "MAX_COUNTS", 3)
    monkeypatch.setattr(listed, "MAX_CALLS", 3)
    monkeypatch.setattr(trace_files, "MAX_FUNCTIONS", 3)
    day = f"o,a,f,x,{a_day(1, 1, 1, 1)}\n"
    with pytest.raises(TraceError, match="more than 3 counts"):
        read(tmp_path, AZURE_2019 + day)
    with pytest.raises(TraceError, match="more than 3 calls"):
        read(tmp_path, AZURE_2021 + "a,f,2,1\n" * 4)
    with pytest.raises(TraceError, match="more than 3 functions"):
        read(tmp_path, "day,time,1,2,3,4\n")
