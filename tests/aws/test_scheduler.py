"""Schedules and their groups, through boto3's scheduler client.

https://docs.aws.amazon.com/scheduler/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import urllib.request
import uuid

import pytest
from botocore.exceptions import ClientError

from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.moto_server import ACCOUNT, REGION
from tests.server import running

ROLE = "arn:aws:iam::000000000000:role/scheduler"
OFF = {"Mode": "OFF"}
HOUR_S = 3600

TELLS = """
    import json
    def handler(event, context):
        print("told", json.dumps(event))
"""


@pytest.fixture(scope="module")
def own_server(needs_wiring, moto, tmp_path_factory):
    """A server whose clock these tests advance."""
    data_dir = tmp_path_factory.mktemp("scheduler") / "data"
    flags = ("--no-examples", "--test-controls")
    with running(data_dir, *flags, SAMOVAR_AWS_ENDPOINT=moto.endpoint) as started:
        yield started


@pytest.fixture(scope="module")
def client_to(own_server):
    with clients_of(own_server.endpoint) as make:
        yield make


@pytest.fixture(scope="module")
def scheduler(client_to):
    return client_to(service="scheduler")


@pytest.fixture
def function(client_to, own_server):
    """A function that prints its events: its name, and its ARN."""
    factory = FunctionFactory(client_to(), f"f-{uuid.uuid4().hex[:8]}", own_server.newest_runtime())
    name = factory(TELLS)
    yield name
    factory.close()


def arn_of(function):
    return f"arn:aws:lambda:us-east-1:000000000000:function:{function}"


@pytest.fixture
def name():
    return f"s-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def create(scheduler, name):
    """Creates a schedule; deleted at the end, if it still is there."""

    def make(expression="rate(1 hour)", target=None, **more):
        given = {"Arn": arn_of("nothing"), "RoleArn": ROLE} | (target or {})
        request = {"FlexibleTimeWindow": OFF, "ScheduleExpression": expression} | more
        return scheduler.create_schedule(Name=name, Target=given, **request)

    yield make
    with contextlib.suppress(scheduler.exceptions.ResourceNotFoundException):
        scheduler.delete_schedule(Name=name)


def now_of(server):
    return dt.datetime.fromisoformat(server.ask("test/clock")["now"])


def refusal(call, *args, **kwargs):
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    error = caught.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], str(caught.value)


# ---------------------------------------------------------------- the life of a schedule


def test_a_schedule_is_kept_as_it_was_created(create, scheduler, name, own_server):
    end = (now_of(own_server) + dt.timedelta(days=9)).replace(microsecond=0)
    target = {
        "Input": '{"tea": "<aws.scheduler.scheduled-time>"}',
        "RetryPolicy": {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 600},
        "DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:000000000000:letters"},
    }
    created = create(
        "cron(0 9 ? * MON-FRI *)",
        target,
        ScheduleExpressionTimezone="Europe/Berlin",
        Description="tea",
        EndDate=end,
        FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
        State="DISABLED",
        ActionAfterCompletion="DELETE",
    )
    arn = f"arn:aws:scheduler:us-east-1:000000000000:schedule/default/{name}"
    assert created["ScheduleArn"] == arn
    kept = scheduler.get_schedule(Name=name)
    assert kept["Target"] == {"Arn": arn_of("nothing"), "RoleArn": ROLE} | target
    assert kept["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}
    assert (kept["EndDate"], kept["CreationDate"]) == (end, kept["LastModificationDate"])
    expected = {
        "Arn": arn,
        "Name": name,
        "GroupName": "default",
        "ScheduleExpression": "cron(0 9 ? * MON-FRI *)",
        "ScheduleExpressionTimezone": "Europe/Berlin",
        "Description": "tea",
        "State": "DISABLED",
        "ActionAfterCompletion": "DELETE",
    }
    assert {member: kept[member] for member in expected} == expected
    assert "StartDate" not in kept


def test_an_update_replaces_all_of_it(create, scheduler, name):
    create(Description="tea", State="DISABLED")
    scheduler.update_schedule(
        Name=name,
        ScheduleExpression="rate(2 hours)",
        FlexibleTimeWindow=OFF,
        Target={"Arn": arn_of("other"), "RoleArn": ROLE},
    )
    kept = scheduler.get_schedule(Name=name)
    assert kept["ScheduleExpression"] == "rate(2 hours)"
    assert kept["State"] == "ENABLED"
    assert "Description" not in kept
    assert kept["Target"]["Arn"] == arn_of("other")
    assert kept["Target"]["RetryPolicy"] == {
        "MaximumRetryAttempts": 185,
        "MaximumEventAgeInSeconds": 86400,
    }


def test_a_schedule_that_was_deleted_is_gone(create, scheduler, name):
    create()
    scheduler.delete_schedule(Name=name)
    for call in (scheduler.get_schedule, scheduler.delete_schedule):
        status, code, text = refusal(call, Name=name)
        assert (status, code) == (404, "ResourceNotFoundException")
        assert f"Schedule {name} does not exist." in text


def test_the_same_request_again_is_answered_the_same(create, scheduler, name):
    first = create(ClientToken="once", Description="a")
    assert create(ClientToken="once", Description="a")["ScheduleArn"] == first["ScheduleArn"]
    for other in ({"ClientToken": "twice", "Description": "a"},
                  {"ClientToken": "once", "Description": "b"}):  # fmt: skip
        status, code, text = refusal(create, **other)
        assert (status, code) == (409, "ConflictException")
        assert f"Schedule {name} already exists." in text


def test_a_deletion_that_is_asked_for_again_is_answered_the_same(create, scheduler, name):
    create()
    for _ in range(2):
        scheduler.delete_schedule(Name=name, ClientToken="once")
    assert refusal(scheduler.delete_schedule, Name=name, ClientToken="twice")[0] == 404
    scheduler.create_schedule_group(Name=name)
    for _ in range(2):
        scheduler.delete_schedule_group(Name=name, ClientToken="once")


def test_listings_go_on_by_their_tokens(scheduler):
    group = f"g-{uuid.uuid4().hex[:8]}"
    scheduler.create_schedule_group(Name=group)
    for number in range(5):
        scheduler.create_schedule(
            Name=f"{'ab'[number % 2]}-{number}",
            GroupName=group,
            ScheduleExpression="rate(1 day)",
            FlexibleTimeWindow=OFF,
            State="ENABLED" if number else "DISABLED",
            Target={"Arn": arn_of("f"), "RoleArn": ROLE, "Input": '"large"'},
        )
    pages = scheduler.get_paginator("list_schedules").paginate(
        GroupName=group, PaginationConfig={"PageSize": 2}
    )
    listed = [schedule for page in pages for schedule in page["Schedules"]]
    assert [schedule["Name"] for schedule in listed] == ["a-0", "a-2", "a-4", "b-1", "b-3"]
    assert listed[0]["Target"] == {"Arn": arn_of("f")}
    some = scheduler.list_schedules(GroupName=group, NamePrefix="a-", State="ENABLED")
    assert [schedule["Name"] for schedule in some["Schedules"]] == ["a-2", "a-4"]
    assert refusal(scheduler.list_schedules, NextToken="x")[:2] == (400, "ValidationException")
    scheduler.delete_schedule_group(Name=group)


def test_a_deleted_schedule_group_takes_its_schedules_with_it(scheduler, name, client_to):
    scheduler.create_schedule_group(Name=name, Tags=[{"Key": "tea", "Value": "green"}])
    create = {
        "Name": "s",
        "GroupName": name,
        "ScheduleExpression": "rate(1 day)",
        "FlexibleTimeWindow": OFF,
        "Target": {"Arn": arn_of("f"), "RoleArn": ROLE},
    }
    scheduler.create_schedule(**create)
    assert scheduler.get_schedule_group(Name=name)["State"] == "ACTIVE"
    scheduler.delete_schedule_group(Name=name)
    while True:  # bounded by the test's time-out
        try:
            assert scheduler.get_schedule_group(Name=name)["State"] == "DELETING"
        except scheduler.exceptions.ResourceNotFoundException:
            break
    assert refusal(scheduler.get_schedule, Name="s", GroupName=name)[0] == 404
    status, code, text = refusal(scheduler.create_schedule, **create)
    assert (status, code) == (404, "ResourceNotFoundException")
    assert f"Schedule group {name} does not exist." in text


def test_the_default_group_is_always_there_and_stays(client_to):
    fresh = client_to(service="scheduler", key_id="111111111111")
    assert [g["Name"] for g in fresh.list_schedule_groups()["ScheduleGroups"]] == ["default"]
    assert fresh.get_schedule_group(Name="default")["State"] == "ACTIVE"
    assert refusal(fresh.delete_schedule_group, Name="default")[:2] == (400, "ValidationException")


def test_groups_have_tags(scheduler, name):
    arn = scheduler.create_schedule_group(Name=name)["ScheduleGroupArn"]
    assert refusal(scheduler.create_schedule_group, Name=name)[:2] == (409, "ConflictException")
    scheduler.tag_resource(ResourceArn=arn, Tags=[{"Key": k, "Value": k * 2} for k in "abc"])
    scheduler.untag_resource(ResourceArn=arn, TagKeys=["a", "c"])
    tags = scheduler.list_tags_for_resource(ResourceArn=arn)["Tags"]
    assert tags == [{"Key": "b", "Value": "bb"}]
    elsewhere = arn.replace("us-east-1", "eu-west-1")
    assert refusal(scheduler.list_tags_for_resource, ResourceArn=elsewhere)[0] == 404
    scheduler.delete_schedule_group(Name=name)


# ---------------------------------------------------------------- what is refused

QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"expression": "rate(0 minutes)"}, "Invalid Schedule Expression rate(0 minutes)"),
        ({"expression": "cron(0 0 31 2 ? *)"}, "no such time ever comes"),
        ({"expression": "at(2020-01-01T00:00:00)"}, "the time has passed already"),
        ({"expression": "every day"}, "Invalid Schedule Expression every day"),
        ({"expression": "cron(" + "9" * 250 + ")"}, "six fields"),
        ({"expression": "x" * 257}, "less than or equal to 256"),
        ({"ScheduleExpressionTimezone": "Mars/Olympus"}, "Invalid ScheduleExpressionTimezone"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "needs MaximumWindowInMinutes"),
        ({"FlexibleTimeWindow": {"Mode": "OFF", "MaximumWindowInMinutes": 5}}, "the mode is OFF"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 1441}}, "1440"),
        ({"StartDate": dt.datetime(2020, 1, 1)}, "cannot be earlier than 5 minutes ago"),
        ({"EndDate": dt.datetime(2020, 1, 1)}, "cannot be in the past"),
        (
            {"StartDate": dt.datetime(2190, 1, 2), "EndDate": dt.datetime(2190, 1, 1)},
            "must come after",
        ),
        ({"KmsKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k"}, "leave KmsKeyArn out"),
        ({"target": {"Arn": "arn:aws:states:us-east-1:000000000000:x:y"}}, "not in correct format"),
        ({"target": {"Arn": "nothing"}}, "not in correct format"),
        ({"target": {"Arn": "arn:aws:scheduler:::aws-sdk:s3:putObject"}}, "Universal targets"),
        ({"target": {"Arn": arn_of("f").replace("000", "111")}}, "its own account"),
        ({"target": {"Arn": QUEUE + ".fifo"}}, "MessageGroupId"),
        ({"target": {"Arn": QUEUE, "SqsParameters": {"MessageGroupId": "g"}}}, "MessageGroupId"),
        ({"target": {"SqsParameters": {"MessageGroupId": "g"}}}, "does not go with"),
        ({"target": {"Arn": "arn:aws:events:us-east-1:000000000000:event-bus/b"}}, "needs Event"),
        ({"target": {"Input": "{no json"}}, "Invalid RequestJson"),
        ({"target": {"Input": json.dumps("x" * 262144)}}, "larger than 262144 bytes"),
        ({"target": {"RetryPolicy": {"MaximumRetryAttempts": 186}}}, "185"),
        ({"target": {"DeadLetterConfig": {"Arn": QUEUE + ".fifo"}}}, "constraint"),
    ],
)
def test_what_cannot_be_done_is_refused(create, request_, words):
    status, code, text = refusal(create, **request_)
    assert (status, code) == (400, "ValidationException")
    assert words in text, text


# ---------------------------------------------------------------- firing


def test_a_rate_fires_at_once_and_then_at_each_interval(create, function, own_server):
    given = '{"at": "<aws.scheduler.scheduled-time>", "try": "<aws.scheduler.attempt-number>"}'
    began = now_of(own_server)
    create("rate(5 minutes)", {"Arn": arn_of(function), "Input": given})
    first = _told(own_server, function, 1)[0]
    assert abs(dt.datetime.fromisoformat(first["at"]) - began) < dt.timedelta(seconds=60)
    assert first["try"] == "1"
    own_server.advance(10 * 60)
    told = [dt.datetime.fromisoformat(event["at"]) for event in _told(own_server, function, 3)]
    assert sorted(told) == [told[0] + dt.timedelta(minutes=5 * n) for n in range(3)]


def test_a_time_in_a_time_zone_comes_once_and_the_schedule_goes(
    create, scheduler, name, function, own_server
):
    at = now_of(own_server).astimezone(dt.timezone(dt.timedelta(hours=9))) + dt.timedelta(hours=2)
    create(
        f"at({at:%Y-%m-%dT%H:%M:%S})",
        {"Arn": arn_of(function)},
        ScheduleExpressionTimezone="Asia/Tokyo",
        ActionAfterCompletion="DELETE",
    )
    own_server.advance(2 * HOUR_S)
    (event,) = _told(own_server, function, 1)
    assert event["source"] == "aws.scheduler"
    assert event["time"] == f"{at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert event["resources"] == [
        f"arn:aws:scheduler:us-east-1:000000000000:schedule/default/{name}"
    ]
    assert refusal(scheduler.get_schedule, Name=name)[0] == 404


def test_a_schedule_that_is_disabled_does_not_fire(create, scheduler, name, function, own_server):
    create("rate(1 hour)", {"Arn": arn_of(function), "Input": '"early"'}, State="DISABLED")
    own_server.advance(3 * HOUR_S)
    scheduler.update_schedule(
        Name=name,
        ScheduleExpression="rate(1 hour)",
        FlexibleTimeWindow=OFF,
        Target={"Arn": arn_of(function), "RoleArn": ROLE, "Input": '"late"'},
    )
    own_server.advance(HOUR_S)
    assert _told(own_server, function, 1) == ["late"]


def _told(server, function, count):
    """What a function has been told, when it has been told so often."""
    server.await_log(function, "told")
    while True:  # bounded by the test's time-out
        url = f"{server.endpoint}/_samovar/logs/{function}?tail_bytes=1000000"
        with urllib.request.urlopen(url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        told = [line.partition("told ")[2] for line in lines if "told " in line]
        if len(told) >= count:
            return [json.loads(text) for text in told]


# ---------------------------------------------------------------- other targets, dead letters


def queue_of(moto, name, **attributes):
    """A new queue: its URL and ARN."""
    url = moto.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def message_in(moto, url):
    """The one message that comes into a queue."""
    while True:  # bounded by the test's time-out
        answer = moto.client("sqs").receive_message(
            QueueUrl=url,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            WaitTimeSeconds=1,
        )
        if "Messages" in answer:
            (message,) = answer["Messages"]
            return message


def test_a_queue_gets_messages(create, moto, name):
    url, arn = queue_of(moto, name)
    create("rate(1 day)", {"Arn": arn, "Input": "tea, try <aws.scheduler.attempt-number>"})
    assert message_in(moto, url)["Body"] == "tea, try 1"


def test_a_fifo_queue_gets_them_in_their_group(create, moto, name, scheduler):
    url, arn = queue_of(moto, f"{name}.fifo", FifoQueue="true")
    parameters = {"MessageGroupId": "g"}
    create("rate(1 day)", {"Arn": arn, "Input": "tea", "SqsParameters": parameters})
    assert message_in(moto, url)["Attributes"]["MessageGroupId"] == "g"
    assert scheduler.get_schedule(Name=name)["Target"]["SqsParameters"] == parameters


def test_a_topic_tells_its_subscribers(create, moto, name):
    url, queue = queue_of(moto, name)
    topic = moto.client("sns").create_topic(Name=name)["TopicArn"]
    moto.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    create("rate(1 day)", {"Arn": topic, "Input": "tea"})
    assert json.loads(message_in(moto, url)["Body"])["Message"] == "tea"


def test_a_bus_gets_events_of_the_type(create, moto, name):
    url, queue = queue_of(moto, name)
    events = moto.client("events")
    bus = events.create_event_bus(Name=name)["EventBusArn"]
    pattern = json.dumps({"source": ["tea.house"], "detail-type": ["Poured"]})
    events.put_rule(Name="r", EventBusName=name, EventPattern=pattern)
    events.put_targets(Rule="r", EventBusName=name, Targets=[{"Id": "1", "Arn": queue}])
    parameters = {"Source": "tea.house", "DetailType": "Poured"}
    create("rate(1 day)", {"Arn": bus, "Input": '{"n": 1}', "EventBridgeParameters": parameters})
    assert json.loads(message_in(moto, url)["Body"])["detail"] == {"n": 1}


def test_what_no_function_takes_is_a_dead_letter(create, moto, name):
    url, letters = queue_of(moto, name)
    target = {"Input": '"tea"', "DeadLetterConfig": {"Arn": letters}}
    schedule = create("rate(1 day)", target)["ScheduleArn"]
    letter = message_in(moto, url)
    assert letter["Body"] == '"tea"'
    told = {key: value["StringValue"] for key, value in letter["MessageAttributes"].items()}
    assert (told["SCHEDULE_ARN"], told["TARGET_ARN"]) == (schedule, arn_of("nothing"))


def test_a_queue_that_is_not_there_makes_a_dead_letter_too(create, moto, name):
    url, letters = queue_of(moto, name)
    target = {
        "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:not-there",
        "RetryPolicy": {"MaximumRetryAttempts": 0},
        "DeadLetterConfig": {"Arn": letters},
        "Input": "tea",
    }
    create("rate(1 day)", target)
    assert message_in(moto, url)["Body"] == "tea"


def test_without_endpoints_other_targets_are_refused(server):
    with clients_of(server.endpoint) as make:
        scheduler = make(service="scheduler")
        for arn in (QUEUE, f"arn:aws:sns:{REGION}:{ACCOUNT}:t"):
            status, code, text = refusal(
                scheduler.create_schedule,
                Name="s",
                ScheduleExpression="rate(1 day)",
                FlexibleTimeWindow=OFF,
                Target={"Arn": arn, "RoleArn": ROLE},
            )
            assert (status, code) == (400, "ValidationException")
            assert "SAMOVAR_AWS_ENDPOINT" in text


# ---------------------------------------------------------------- a server's end


def test_what_was_due_while_the_server_was_down_fires_once_late(needs_wiring, tmp_path):
    data_dir = tmp_path / "data"
    with running(data_dir, "--no-examples") as server, clients_of(server.endpoint) as make:
        functions = FunctionFactory(make(), "late", server.newest_runtime())
        function = functions(TELLS)
        due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
        make(service="scheduler").create_schedule(
            Name="once",
            ScheduleExpression=f"at({due:%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow=OFF,
            Target={"Arn": arn_of(function), "RoleArn": ROLE, "Input": '"late"'},
        )
        server.kill()
    with running(data_dir, "--no-examples") as again:
        assert _told(again, function, 1) == ["late"]
