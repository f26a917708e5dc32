"""Requests as other clients than botocore send them, good and bad."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import pytest

from samovar.awsproto import ServiceModel, parse_request
from samovar.awsproto.jsonbody import MAX_DEPTH, MAX_VALUES
from samovar.model.errors import ErrorCode, PlatformError

LAMBDA = ServiceModel.load("lambda")

BOOLEAN = "Publish"
INTEGER = "Timeout"
STRING = "Description"
STRUCTURE = "VpcConfig"
LIST = "Layers"
MAP = "Tags"
MAPPINGS = "/2015-03-31/event-source-mappings"
EXECUTIONS = "/2025-12-01/functions/f/durable-executions"


def parse(
    method: str = "POST",
    path: str = "/2015-03-31/functions",
    query: dict[str, list[str]] | None = None,
    headers: dict[str, str] | None = None,
    body: object = b"",
) -> dict[str, Any]:
    match = LAMBDA.route(method, path, query or {})
    assert match is not None
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_request(match, query or {}, headers or {}, raw)


def refusal(body: object, **more: Any) -> str:
    with pytest.raises(PlatformError) as info:
        parse(body=body, **more)
    assert info.value.code is ErrorCode.SERIALIZATION
    assert info.value.status == 400
    return info.value.message


def test_a_package_is_decoded() -> None:
    zipped = bytes(range(256))

    params = parse(body={"Code": {"ZipFile": base64.b64encode(zipped).decode()}})

    assert params == {"Code": {"ZipFile": zipped}}


def test_a_payload_is_the_body_as_it_is() -> None:
    params = parse(path="/2015-03-31/functions/f/invocations", body=b'{"not": json, \xff')

    assert params == {"FunctionName": "f", "Payload": b'{"not": json, \xff'}


def test_header_names_are_of_any_case() -> None:
    params = parse(
        path="/2015-03-31/functions/f/invocations",
        query={"Qualifier": ["live"]},
        headers={"x-amz-INVOCATION-type": "Event", "X-Amz-Log-Type": "Tail"},
    )

    assert params == {
        "FunctionName": "f",
        "InvocationType": "Event",
        "LogType": "Tail",
        "Qualifier": "live",
    }


def test_a_query_is_typed() -> None:
    params = parse("GET", query={"MaxItems": ["7"], "Marker": ["m"], "Unknown": ["x"]})

    assert params == {"MaxItems": 7, "Marker": "m"}


def test_a_list_in_a_query_is_repeated() -> None:
    params = parse("DELETE", "/2017-03-31/tags/arn", query={"tagKeys": ["a", "b"]})

    assert params == {"Resource": "arn", "TagKeys": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-23T10:20:30Z", dt.datetime(2026, 11, 23, 10, 20, 30, tzinfo=dt.UTC)),
        ("2026-11-23T10:20:30.5+01:00", dt.datetime(2026, 11, 23, 9, 20, 30, 500000, dt.UTC)),
        ("2026-11-23T10:20:30", dt.datetime(2026, 11, 23, 10, 20, 30, tzinfo=dt.UTC)),
    ],
)
def test_a_time_in_a_query_is_iso(text: str, time: dt.datetime) -> None:
    params = parse("GET", EXECUTIONS, query={"StartedAfter": [text]})

    assert params["StartedAfter"] == time


def test_a_time_in_a_body_is_seconds() -> None:
    params = parse(path=MAPPINGS, body={"StartingPositionTimestamp": 1.5})

    expected = dt.datetime(1970, 1, 1, 0, 0, 1, 500000, tzinfo=dt.UTC)
    assert params["StartingPositionTimestamp"] == expected


def test_nulls_and_unknown_members_are_as_if_absent() -> None:
    params = parse(body={"FunctionName": "f", "Timeout": None, "Nope": [1, {"a": 2}]})

    assert params == {"FunctionName": "f"}


def test_the_last_of_duplicates_counts() -> None:
    assert parse(body=b'{"Timeout": 1, "Timeout": 2}') == {"Timeout": 2}


@pytest.mark.parametrize("body", [b"", b" \n", b"{}"])
def test_no_body_is_an_empty_object(body: bytes) -> None:
    assert parse(body=body) == {}


@pytest.mark.parametrize(("word", "truth"), [("true", True), ("No", False), ("1", True)])
def test_a_word_for_a_truth_is_a_boolean(word: str, truth: bool) -> None:
    assert parse(body={BOOLEAN: word}) == {BOOLEAN: truth}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({INTEGER: "3"}, "STRING_VALUE can not be converted to an Integer"),
        ({INTEGER: True}, "TRUE_VALUE can not be converted to an Integer"),
        ({INTEGER: 1.5}, "NUMBER_VALUE can not be converted to an Integer"),
        ({INTEGER: 2**31}, "NUMBER_VALUE can not be converted to an Integer"),
        ({INTEGER: 1e300}, "NUMBER_VALUE can not be converted to an Integer"),
        ({INTEGER: [1]}, "Start of list found where not expected"),
        ({INTEGER: {"a": 1}}, "Start of structure or map found where not expected."),
        ({STRING: 1}, "NUMBER_VALUE can not be converted to a String"),
        ({STRING: False}, "FALSE_VALUE can not be converted to a String"),
        ({BOOLEAN: "maybe"}, "STRING_VALUE can not be converted to an Boolean"),
        ({BOOLEAN: 1}, "NUMBER_VALUE can not be converted to a Boolean"),
        ({STRUCTURE: "x"}, "Expected null"),
        ({STRUCTURE: []}, "Start of list found where not expected"),
        ({MAP: 1}, "Expected null"),
        ({MAP: {"a": 1}}, "NUMBER_VALUE can not be converted to a String"),
        ({LIST: "x"}, "Expected list or null"),
        ({LIST: {}}, "Expected list or null"),
        ({LIST: [1]}, "NUMBER_VALUE can not be converted to a String"),
        ({"Code": {"ZipFile": "no base64!"}}, "Expected a base64 encoded value"),
        ({"Code": {"ZipFile": "\u00e9"}}, "Expected a base64 encoded value"),
        ([], "Start of list found where not expected"),
        ("x", "The request body must be a JSON object"),
        (None, "The request body must be a JSON object"),
    ],
)
def test_a_wrong_type_is_named_as_aws_names_it(body: object, message: str) -> None:
    assert refusal(body) == message


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"Timeout": 3,}',
        b"{'Timeout': 3}",
        b'{"Timeout": NaN}',
        b'{"Timeout": 1e999}',
        b'{"Timeout": ' + b"9" * 10_000 + b"}",
        b'{"Description": "\xff"}',
        b'{"Description": "\\ud800"}',
        b'{"Description": "unterminated',
        b"{} {}",
        b"\x00",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert refusal(body).startswith("The request body is not valid JSON: ")


@pytest.mark.parametrize(
    "number", ["1e300", "-1e300", "1" + "0" * 300, "1e12"], ids=lambda n: n[:20]
)
def test_a_time_beyond_the_calendar_is_refused(number: str) -> None:
    refusal(f'{{"StartingPositionTimestamp": {number}}}'.encode(), path=MAPPINGS)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1.5", "9" * 5000, "0x10", "\uff11", "1_000", " 1"],
    ids=lambda text: repr(text[:20]),
)
def test_a_number_in_a_query_is_a_number(text: str) -> None:
    message = refusal(b"", method="GET", query={"MaxItems": [text]})

    assert message == "STRING_VALUE can not be converted to an Integer"


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "0001-01-01T00:00:00+14:00"])
def test_a_time_in_a_query_is_a_time(text: str) -> None:
    refusal(b"", method="GET", path=EXECUTIONS, query={"StartedAfter": [text]})


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b'{"Tags": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}",
    ],
    ids=["open", "objects", "lists"],
)
def test_a_body_may_not_nest_without_end(body: bytes) -> None:
    assert refusal(body) == f"The request body nests deeper than {MAX_DEPTH} levels"


def test_a_body_may_not_hold_millions_of_values() -> None:
    body = b'{"Layers": [' + b"{}," * MAX_VALUES + b"{}]}"

    assert refusal(body) == f"The request body holds more than {MAX_VALUES} values"


def test_many_values_side_by_side_are_fine() -> None:
    layers = ["a"] * 1000

    assert parse(body={"Layers": layers, "Nope": [[]] * 1000}) == {"Layers": layers}


@pytest.mark.parametrize("inside", ["[", "{", ",", '\\"[', "\\\\"])
def test_structure_within_a_string_does_not_count(inside: str) -> None:
    text = inside * (MAX_VALUES + MAX_DEPTH)

    params = parse(body=f'{{"Description": "{text}"}}'.encode())

    assert params == {"Description": json.loads(f'"{text}"')}


def test_an_unterminated_string_of_escapes_is_refused() -> None:
    refusal(b'{"a": "' + b'\\"[' * 1_000_000)
