"""Services beside Lambda: their paths, their errors, their own limits."""

from __future__ import annotations

import json

import pytest

from samovar.awsproto import ServiceModel
from samovar.frontend.service import (
    SCHEDULER_BODY_BYTES,
    SCHEDULER_ERRORS,
    lambda_service,
    scheduler_service,
)
from samovar.model.errors import ErrorCode, PlatformError
from tests.unit.known_functions import front_door


def raising(code):
    async def handler(caller, params):
        raise PlatformError(code, "No tea.")

    return handler


async def groups(caller, params):
    return {"ScheduleGroups": [], "NextToken": caller.region}


def test_no_two_services_share_a_path():
    assert not lambda_service({}).roots & scheduler_service({}).roots


def test_each_error_that_is_renamed_is_one_of_the_service():
    known = ServiceModel.load("scheduler").errors
    assert set(SCHEDULER_ERRORS.values()) <= set(known)


async def test_a_path_leads_to_its_service():
    async with front_door(scheduler={"ListScheduleGroups": groups}) as door:
        answer = await door.ask("GET", "/schedule-groups")
        assert json.loads(answer.body) == {"ScheduleGroups": [], "NextToken": "us-east-1"}
        assert (await door.ask("GET", "/schedules"))[
            "x-amzn-errortype"
        ] == "NotImplementedException"


@pytest.mark.parametrize(
    ("code", "status", "name"),
    [
        (ErrorCode.CONFLICT, 409, "ConflictException"),
        (ErrorCode.INVALID_PARAMETER, 400, "ValidationException"),
        (ErrorCode.QUOTA_EXCEEDED, 402, "ServiceQuotaExceededException"),
        (ErrorCode.TOO_MANY_REQUESTS, 429, "ThrottlingException"),
        (ErrorCode.SERVICE, 500, "InternalServerException"),
        (ErrorCode.UNAVAILABLE, 503, "ServiceUnavailableException"),
    ],
)
async def test_errors_have_the_names_of_their_service(code, status, name):
    async with front_door(scheduler={"ListScheduleGroups": raising(code)}) as door:
        answer = await door.ask("GET", "/schedule-groups")
        assert (answer.status, answer["x-amzn-errortype"]) == (status, name)
        assert json.loads(answer.body).get("Message", "No tea.") == "No tea."


async def test_a_service_has_its_own_limit_on_requests():
    async with front_door(scheduler={}) as door:
        length = {"content-length": str(SCHEDULER_BODY_BYTES + 1)}
        answer = await door.ask("POST", "/schedules/s", b"{}", headers=length)
        assert answer.status == 413
