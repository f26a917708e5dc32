"""`samovar schedule`, against a real server."""

from __future__ import annotations

import pytest

from tests.aws.functions import ROLE, lambda_client_of
from tests.integration.test_cli import Run, deploy, name, samovar

__all__ = ["deploy", "name", "samovar"]

TELLS = "def handler(event, context):\n    print('told', event)\n"


@pytest.fixture
def function(deploy, name, tmp_path):
    """A function that prints its events."""
    (tmp_path / "app.py").write_text(TELLS)
    deploy(str(tmp_path))
    return name


@pytest.fixture
def schedule(samovar: Run, name: str):
    """The name of a schedule; it is deleted after the test."""
    yield name
    samovar("schedule", "rm", name, "--yes")


def row_of(samovar, schedule):
    """Its row, by column."""
    heading, *rows = samovar("schedule", "ls").stdout.splitlines()
    starts = [heading.index(column) for column in COLUMNS]
    for row in rows:
        if row.startswith(schedule + " "):
            ends = [*starts[1:], None]
            cells = [row[start:end].strip() for start, end in zip(starts, ends, strict=True)]
            return dict(zip(COLUMNS, cells, strict=True))
    return None


COLUMNS = ("NAME", "WHEN", "TIME ZONE", "TARGET", "NEXT", "MISSED")


def test_a_schedule_invokes_its_function(samovar, function, schedule, server):
    payload = '{"tea": "green"}'
    done = samovar("schedule", "add", schedule, function, "--rate", "1 day", "-p", payload)
    assert done.stdout.startswith(f"{schedule} added: {function}, next 2"), done.stderr
    server.await_log(function, "told {'tea': 'green'}")


def test_schedules_are_listed_shown_paused_resumed_and_deleted(samovar, function, schedule):
    times = ("--cron", "0 9 ? * MON-FRI 2199", "--tz", "Europe/Berlin", "--flexible", "15")
    done = samovar("schedule", "add", schedule, function, *times)
    assert done.returncode == 0, done.stderr
    assert row_of(samovar, schedule) == {
        "NAME": schedule,
        "WHEN": "cron(0 9 ? * MON-FRI 2199)",
        "TIME ZONE": "Europe/Berlin",
        "TARGET": function,
        "NEXT": "2199-01-01 08:00:00 UTC",
        "MISSED": "0",
    }
    shown = samovar("schedule", "show", schedule).stdout
    assert '"MaximumWindowInMinutes": 15' in shown
    assert samovar("schedule", "pause", schedule).stdout == f"{schedule} paused\n"
    assert row_of(samovar, schedule)["NEXT"] == "paused"
    resumed = samovar("schedule", "resume", schedule).stdout
    assert resumed == f"{schedule} goes on: next 2199-01-01 08:00:00 UTC\n"
    after = samovar("schedule", "show", schedule).stdout
    assert [line for line in shown.splitlines() if not line.startswith("LastMod")] == [
        line for line in after.splitlines() if not line.startswith("LastMod")
    ]
    assert samovar("schedule", "rm", schedule, "--yes").stdout == f"{schedule} deleted\n"
    assert row_of(samovar, schedule) is None


def test_what_a_schedule_says_of_itself_does_not_reach_the_terminal(samovar, schedule, server):
    client = lambda_client_of(server.endpoint, service="scheduler")
    client.create_schedule(
        Name=schedule,
        ScheduleExpression="rate(1 day)",
        State="DISABLED",
        Description="\x1b]0;owned\x07",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:lambda:us-east-1:000000000000:function:f", "RoleArn": ROLE},
    )
    client.close()
    assert r"\x1b]0;owned\x07" in samovar("schedule", "show", schedule).stdout


def test_one_that_is_in_a_group_is_named_with_it(samovar, function, schedule, server):
    client = lambda_client_of(server.endpoint, service="scheduler")
    client.create_schedule_group(Name=schedule)
    whole = f"{schedule}/tea"
    samovar("schedule", "add", whole, function, "--at", "2199-12-31T23:59:59")
    assert row_of(samovar, whole)["NEXT"] == "2199-12-31 23:59:59 UTC"
    assert samovar("schedule", "rm", whole, "--yes").returncode == 0
    client.delete_schedule_group(Name=schedule)
    client.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "s", "FUNCTION"), "say one of --rate, --cron and --at"),
        (("add", "s", "FUNCTION", "--rate", "1 day", "--at", "x"), "say one of"),
        (("add", "s", "FUNCTION", "--rate", "5 teas"), "Invalid Schedule Expression rate(5 teas)"),
        (("add", "s", "nothing", "--rate", "1 day"), "`samovar ls` lists the functions"),
        (("add", "s!", "FUNCTION", "--rate", "1 day"), "'name' failed to satisfy constraint"),
        (("show", "nothing"), "Schedule nothing does not exist"),
        (("pause", "nothing"), "`samovar schedule ls` lists the schedules"),
        (("rm", "nothing"), "say --yes"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(samovar, function, arguments, words):
    done = samovar("schedule", *(function if word == "FUNCTION" else word for word in arguments))
    assert done.returncode != 0
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
