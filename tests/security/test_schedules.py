"""Hostile schedules: absurd expressions and inputs cost little, and harm nobody else's."""

from __future__ import annotations

import http.client
import json
import threading
from urllib.parse import urlsplit

import pytest

from tests.aws.functions import lambda_client_of

ROLE = "arn:aws:iam::000000000000:role/r"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/scheduler/aws4_request, Signature=0"
)


@pytest.fixture(scope="module")
def scheduler(server):
    client = lambda_client_of(server.endpoint, service="scheduler")
    yield client
    client.close()


def ask(server, method, path, body=b""):
    """Status and body of a request that no AWS client would make."""
    parts = urlsplit(server.endpoint)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request(method, path, body, {"Authorization": SIGNATURE})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


def target(**more):
    return {"Arn": FUNCTION, "RoleArn": ROLE} | more


def request(**more):
    return {
        "ScheduleExpression": "rate(1 day)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": target(),
        "State": "DISABLED",
    } | more


ABSURD = [
    "cron(* 2 ? 3 1#2 *)",  # each year's minutes are skipped by the clocks of New York
    "cron(" + ",".join(["0-59"] * 40) + " * * * ? *)",
    "cron(* * 31 2,4,6,9,11 ? *)",
    "cron(0 0 29 2 ? 2100)",
    "cron(0 0 ? * 1#5 1970)",
    "cron(0-59/1,0-59/1 0-23 L,LW,1W,31W * ? 2199)",
    "rate(" + "9" * 240 + " days)",
    "at(" + "9" * 240 + ")",
    "cron" + "(" * 250,
    "\0" * 256,
]


@pytest.mark.parametrize("expression", ABSURD)
def test_an_absurd_expression_is_answered_and_the_server_goes_on(server, expression):
    body = request(ScheduleExpression=expression, ScheduleExpressionTimezone="America/New_York")
    status, _ = ask(server, "POST", "/schedules/absurd", json.dumps(body).encode())
    assert status in (200, 400)
    assert server.health()["status"] == "ready"
    ask(server, "DELETE", "/schedules/absurd")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400),
        (b'{"Target": ' * 20_000, 400),
        (json.dumps(request(Target=target(Input="[" * 200_000))), 400),
        (json.dumps(request(Target=target(Arn="arn:" + "a" * 1595))), 400),
        (json.dumps(request(Description="x" * 600)), 400),
        (b"x" * (2 * 1024 * 1024 + 1), 413),
        (b"\xff\xfe", 400),
        (json.dumps(request(EndDate=1e300)), 400),
        (json.dumps(request(StartDate=253402300799, EndDate=253402300799)), 400),
        (json.dumps(request(EndDate="NaN")), 400),
    ],
    ids=[
        "lists",
        "objects",
        "input",
        "arn",
        "description",
        "size",
        "bytes",
        "date",
        "dates",
        "nan",
    ],
)
def test_a_body_that_is_no_schedule_is_refused(server, body, status):
    answered, told = ask(server, "POST", "/schedules/absurd", body)
    assert answered == status, told
    assert len(json.dumps(told)) < 10_000


@pytest.mark.parametrize(
    "path",
    [
        "/schedules/..%2f..%2fetc",
        "/schedules/a%00b",
        "/schedules/" + "a" * 65,
        "/schedules/a?groupName=..%2fdefault",
        "/schedules?NextToken=" + "A" * 2000,
        "/schedules?MaxResults=1000000000",
        "/tags/arn%3Aaws%3Ascheduler%3Aus-east-1%3A000000000000%3Aschedule-group%2F..%2Fx",
    ],
)
def test_a_path_that_names_nothing_is_refused(server, path):
    assert ask(server, "GET", path)[0] in (400, 404)


def test_a_schedule_of_one_account_is_not_seen_from_another(server, scheduler):
    scheduler.create_schedule(Name="mine", **request())
    other = lambda_client_of(server.endpoint, service="scheduler", key_id="222222222222")
    assert other.list_schedules()["Schedules"] == []
    with pytest.raises(other.exceptions.ResourceNotFoundException):
        other.get_schedule(Name="mine")
    with pytest.raises(other.exceptions.ResourceNotFoundException):
        other.delete_schedule(Name="mine")
    with pytest.raises(other.exceptions.ValidationException, match="own account"):
        other.create_schedule(Name="yours", **request())
    scheduler.delete_schedule(Name="mine")
    other.close()


def test_many_who_create_the_same_schedule_at_once_make_one(server, scheduler):
    statuses = []

    def create():
        body = json.dumps(request()).encode()
        statuses.append(ask(server, "POST", "/schedules/same", body)[0])

    threads = [threading.Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 15
    scheduler.delete_schedule(Name="same")


@pytest.mark.parametrize("expression", ["rate(36500 days)", "cron(* * * * ? *)"])
def test_a_start_at_the_end_of_time_is_refused(server, scheduler, expression):
    last = request(
        ScheduleExpression=expression,
        ScheduleExpressionTimezone="Pacific/Kiritimati",
        StartDate=253402300799,
        State="ENABLED",
    )
    status, told = ask(server, "POST", "/schedules/last", json.dumps(last).encode())
    assert status == 400
    assert "no such time comes between" in told["Message"]
