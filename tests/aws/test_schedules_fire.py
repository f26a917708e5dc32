"""What schedules do when their time comes: to functions, queues, topics, buses; through boto3.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/what-is-scheduler.html
"""

from __future__ import annotations

import datetime as dt
import json

import pytest

from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.moto_server import ACCOUNT, REGION
from tests.aws.schedules import (
    OFF,
    ROLE,
    TELLS,
    arn_of,
    client_to,
    create,
    function,
    name,
    now_of,
    own_server,
    refusal,
    scheduler,
    told_to,
)
from tests.server import running

__all__ = ["client_to", "create", "function", "name", "own_server", "scheduler"]

HOUR_S = 3600


CALL = "arn:aws:scheduler:::aws-sdk:"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"


def test_a_rate_fires_at_once_and_then_at_each_interval(create, function, own_server):
    given = '{"at": "<aws.scheduler.scheduled-time>", "try": "<aws.scheduler.attempt-number>"}'
    began = now_of(own_server)
    create("rate(5 minutes)", {"Arn": arn_of(function), "Input": given})
    first = told_to(own_server, function, 1)[0]
    assert abs(dt.datetime.fromisoformat(first["at"]) - began) < dt.timedelta(seconds=60)
    assert first["try"] == "1"
    own_server.advance(10 * 60)
    told = [dt.datetime.fromisoformat(event["at"]) for event in told_to(own_server, function, 3)]
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
    (event,) = told_to(own_server, function, 1)
    assert event["source"] == "aws.scheduler"
    assert event["time"] == f"{at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert event["resources"] == [
        f"arn:aws:scheduler:us-east-1:000000000000:schedule/default/{name}"
    ]
    assert refusal(scheduler.get_schedule, Name=name)[0] == 404


@pytest.mark.parametrize(
    "changes",
    [
        [{"State": "DISABLED"}, {"State": "ENABLED"}],
        [{"ScheduleExpressionTimezone": "Etc/UTC"}],
        [{"EndDate": dt.datetime(2190, 1, 1)}],
        [{"Description": "tea"}],
    ],
    ids=["paused", "zone", "end", "description"],
)
def test_what_has_fired_once_does_not_fire_again_for_a_change(
    create, scheduler, name, function, own_server, changes
):
    at = f"at({now_of(own_server) + dt.timedelta(hours=2):%Y-%m-%dT%H:%M:%S})"
    create(at, {"Arn": arn_of(function), "Input": '"once"'})
    own_server.advance(2 * HOUR_S)
    told_to(own_server, function, 1)
    for change in changes:
        scheduler.update_schedule(
            Name=name,
            ScheduleExpression=at,
            FlexibleTimeWindow=OFF,
            Target={"Arn": arn_of(function), "RoleArn": ROLE, "Input": '"again"'},
            **change,
        )
        assert own_server.ask(f"schedules/default/{name}")["next"] is None


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
    assert told_to(own_server, function, 1) == ["late"]


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


def test_a_universal_target_sends_a_message(create, moto, name):
    url, _ = queue_of(moto, name)
    message = {"QueueUrl": url, "MessageBody": "at <aws.scheduler.scheduled-time>"}
    target = {"Arn": CALL + "sqs:sendMessage", "Input": json.dumps(message)}
    create("rate(1 day)", target)
    assert message_in(moto, url)["Body"].startswith("at 2")


def test_a_universal_target_invokes_a_function(create, function, own_server):
    call = {"FunctionName": function, "InvocationType": "Event", "Payload": '{"tea": "green"}'}
    create("rate(1 day)", {"Arn": CALL + "lambda:invoke", "Input": json.dumps(call)})
    assert told_to(own_server, function, 1) == [{"tea": "green"}]


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
        assert told_to(again, function, 1) == ["late"]
