"""Results of operations as HTTP has them."""

from __future__ import annotations

import datetime as dt
import json
from enum import StrEnum
from typing import Any

import pytest

from samovar.awsproto import Response, ServiceModel, serialize_response

LAMBDA = ServiceModel.load("lambda")
TIME = dt.datetime(2026, 11, 23, 10, 20, 30, 123456, tzinfo=dt.UTC)


def respond(operation: str, service: str = "lambda", /, **result: Any) -> Response:
    return serialize_response(ServiceModel.load(service).operations[operation], result)


def test_what_is_none_is_left_out() -> None:
    response = respond("GetFunctionConfiguration", FunctionName="f", Runtime=None, Timeout=0)

    assert json.loads(response.body) == {"FunctionName": "f", "Timeout": 0}
    assert response.headers == [("Content-Type", "application/json")]


def test_the_status_is_the_models() -> None:
    assert respond("CreateFunction", FunctionName="f").status == 201


def test_a_member_may_be_the_status() -> None:
    assert respond("Invoke", StatusCode=202).status == 202
    assert respond("DeleteFunction", StatusCode=204) == Response(204, [], b"")


def test_an_operation_without_output_has_no_body() -> None:
    assert respond("DeleteAlias") == Response(204, [], b"")


def test_an_empty_result_is_an_empty_object() -> None:
    assert respond("ListFunctions").body == b"{}"


def test_members_travel_in_headers() -> None:
    response = respond("Invoke", StatusCode=200, ExecutedVersion="$LATEST", Payload=b"\x00{")

    assert ("X-Amz-Executed-Version", "$LATEST") in response.headers
    assert response.body == b"\x00{"


def test_an_event_stream_is_the_callers_to_write() -> None:
    response = respond("InvokeWithResponseStream", StatusCode=200, ExecutedVersion="1")

    assert response.body == b""
    assert ("Content-Type", "application/vnd.amazon.eventstream") in response.headers


def test_times_in_a_body_are_seconds_to_the_millisecond() -> None:
    response = respond("GetFunctionEventInvokeConfig", LastModified=TIME)

    assert json.loads(response.body) == {"LastModified": TIME.timestamp() // 0.001 / 1000}


def test_last_modified_of_a_function_is_a_string() -> None:
    response = respond("GetFunctionConfiguration", LastModified="2026-11-23T10:20:30.123+0000")

    assert b'"2026-11-23T10:20:30.123+0000"' in response.body


def test_a_model_may_want_another_format() -> None:
    response = respond("GetWebFunction", "lambda-web", createdAt=TIME)

    assert json.loads(response.body) == {"createdAt": "2026-11-23T10:20:30.123Z"}


def test_a_time_without_a_zone_is_utc() -> None:
    aware = respond("GetFunctionEventInvokeConfig", LastModified=TIME)
    naive = respond("GetFunctionEventInvokeConfig", LastModified=TIME.replace(tzinfo=None))

    assert naive == aware


def test_an_enum_is_its_value() -> None:
    class State(StrEnum):
        ACTIVE = "Active"

    response = respond("GetFunctionConfiguration", State=State.ACTIVE, Architectures=("x86_64",))

    assert json.loads(response.body) == {"State": "Active", "Architectures": ["x86_64"]}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"Nope": 1}, "FunctionConfiguration has no Nope"),
        ({"VpcConfig": {"Nope": 1}}, "VpcConfigResponse has no Nope"),
        ({"Timeout": "3"}, "FunctionConfiguration.Timeout: integer expected, not str"),
        ({"Timeout": True}, "FunctionConfiguration.Timeout: integer expected, not bool"),
        ({"Handler": 3}, "FunctionConfiguration.Handler: string expected, not int"),
        ({"Layers": "x"}, "FunctionConfiguration.Layers: list expected, not str"),
        ({"Layers": [None]}, "FunctionConfiguration.Layers: structure expected, not NoneType"),
    ],
)
def test_a_result_that_does_not_fit_is_our_defect(result: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        respond("GetFunctionConfiguration", **result)


def test_a_header_cannot_begin_another() -> None:
    with pytest.raises(ValueError, match="line break"):
        respond("Invoke", FunctionError="Unhandled\r\nX-Evil: 1")
