"""AWS's words for what happens to an invocation."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from samovar.ports import Exit
from samovar.worker import report

NOW = dt.datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=dt.UTC)
MIB = 1 << 20


def end_lines(**changes):
    settings = {"run_ms": 12.345, "memory_mib": 128, "peak_bytes": 30 * MIB, "init_ms": None}
    return report.Figures("r", **{**settings, **changes}).lines().decode()


def test_the_first_line_names_the_version():
    assert report.start_line("r", "7") == b"START RequestId: r Version: 7\n"


def test_the_last_lines_tell_time_and_memory():
    assert end_lines() == (
        "END RequestId: r\n"
        "REPORT RequestId: r\tDuration: 12.35 ms\tBilled Duration: 13 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 30 MB\t\n"
    )


def test_init_is_told_and_billed_once():
    lines = end_lines(init_ms=100.4)
    assert "Billed Duration: 113 ms" in lines
    assert lines.endswith("Max Memory Used: 30 MB\tInit Duration: 100.40 ms\t\n")


@pytest.mark.parametrize(("peak", "told"), [(1, 1), (30 * MIB + 1, 31), (999 * MIB, 128), (0, 0)])
def test_memory_is_rounded_up_and_never_more_than_there_was(peak, told):
    assert f"Max Memory Used: {told} MB\t" in end_lines(peak_bytes=peak)


def test_a_timeout_is_a_status_without_an_error_type():
    fault = report.timed_out(3)
    assert end_lines(fault=fault).endswith("\tStatus: timeout\t\n")
    assert fault.log_line("r", NOW) == (
        b"2026-11-23T12:00:00.123Z r Task timed out after 3.00 seconds\n\n"
    )
    assert json.loads(fault.document("r")) == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": "RequestId: r Error: Task timed out after 3.00 seconds",
    }


def test_a_crash_is_a_status_with_an_error_type():
    fault = report.exited(Exit(code=2))
    assert end_lines(fault=fault).endswith("\tStatus: error\tError Type: Runtime.ExitError\t\n")
    assert fault.log_line("r", NOW) == (
        b"RequestId: r Error: Runtime exited with error: exit status 2\nRuntime.ExitError\n"
    )


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (Exit(code=137), "Runtime exited with error: exit status 137"),
        (Exit(signal=6), "Runtime exited with error: signal: aborted"),
        (Exit(signal=64), "Runtime exited with error: signal: signal 64"),
        (Exit(code=0), "Runtime exited without providing a reason"),
        (Exit(failure="no namespaces"), "Runtime exited without providing a reason"),
        (Exit(signal=9, out_of_memory=True), "Runtime exited with error: signal: killed"),
    ],
)
def test_each_end_of_a_process_has_its_words(end, message):
    assert report.exited(end).message == message


def test_a_document_without_a_request_has_the_bare_message():
    document = json.loads(report.exited(Exit(code=1)).document(""))
    assert document["errorMessage"] == "Runtime exited with error: exit status 1"


def test_the_line_of_a_failed_init():
    assert report.init_report(1.5, "Runtime.ExitError") == (
        b"INIT_REPORT Init Duration: 1.50 ms\tPhase: init\tStatus: error\t"
        b"Error Type: Runtime.ExitError\n"
    )
    assert report.init_report(1.5, None).endswith(b"\tPhase: init\tStatus: timeout\n")
