"""Schedules and their groups, through boto3's scheduler client.

https://docs.aws.amazon.com/scheduler/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import datetime as dt
import json
import uuid

import pytest

from tests.aws.schedules import (
    OFF,
    ROLE,
    arn_of,
    client_to,
    create,
    function,
    name,
    now_of,
    own_server,
    refusal,
    scheduler,
)

__all__ = ["client_to", "create", "function", "name", "own_server", "scheduler"]

HOUR_S = 3600


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
    create()
    scheduler.delete_schedule(Name=name, ClientToken="once")
    assert refusal(scheduler.get_schedule, Name=name)[0] == 404
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
    assert refusal(scheduler.list_schedules, GroupName="nothing")[0] == 404
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
CALL = "arn:aws:scheduler:::aws-sdk:"


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
        (
            {"target": {"Arn": "arn:aws:scheduler:::aws-sdk:s3:putObject"}},
            "of the universal targets",
        ),
        ({"target": {"Arn": CALL + "sqs:sendMessage", "Input": "{}"}}, "is no request of"),
        ({"target": {"Arn": CALL + "sqs:sendMessage"}}, "is no request of"),
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
