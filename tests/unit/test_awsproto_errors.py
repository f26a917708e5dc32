"""Errors as SDKs see them: through botocore's own parser and exception classes."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser

from samovar.awsproto import Response, ServiceModel, error_response, serialize_error
from samovar.model.errors import AWS_ERRORS, ErrorCode, PlatformError
from tests.unit.awsproto_strategies import SERVICES, botocore_model

LAMBDA = ServiceModel.load("lambda")

MODELLED = [(service, name) for service in SERVICES for name in ServiceModel.load(service).errors]


@pytest.fixture(scope="module")
def client() -> Any:
    return boto3.client(
        "lambda", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def read(response: Response, service: str = "lambda", name: str = "") -> dict[str, Any]:
    """Parse an error with an operation that has it, as botocore does."""
    model = botocore_model(service)
    operations = (model.operation_model(operation) for operation in model.operation_names)
    operation = next(
        (op for op in operations if name in {shape.name for shape in op.error_shapes}),
        model.operation_model(model.operation_names[0]),
    )
    message = {
        "status_code": response.status,
        "headers": HeadersDict(dict(response.headers)),
        "body": response.body,
    }
    parser = create_parser("rest-json")
    parsed = parser.parse(message, operation.output_shape)
    for shape in operation.error_shapes:
        if shape.name == name:
            parsed |= parser.parse(message, shape)
    return parsed


@pytest.mark.parametrize(("service", "name"), MODELLED)
def test_botocore_reads_every_modelled_error(service: str, name: str) -> None:
    members = {"Type": "User", "Reason": "why", "retryAfterSeconds": 7}

    response = error_response(ServiceModel.load(service), name, 599, "It broke.", members, "id-1")

    parsed = read(response, service, name)
    modelled = botocore_model(service).shape_for(name)
    assert parsed["Error"]["Code"] == name
    assert parsed["Error"]["Message"] == "It broke."
    assert parsed["ResponseMetadata"]["RequestId"] == "id-1"
    assert response.status == modelled.metadata["error"]["httpStatusCode"]
    headers = dict(response.headers)
    assert ("Retry-After" in headers) is ("retryAfterSeconds" in modelled.members)
    assert json.loads(response.body).keys() <= set(modelled.members)


@pytest.mark.parametrize("name", LAMBDA.errors)
def test_boto3_has_a_class_for_every_modelled_error(client: Any, name: str) -> None:
    response = error_response(LAMBDA, name, 599, "It broke.", {"Type": "User"}, "id-1")

    raised = client.exceptions.from_code(read(response, name=name)["Error"]["Code"])

    assert raised is getattr(client.exceptions, name)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_of_the_platform_reaches_the_client(code: ErrorCode) -> None:
    error = PlatformError(code, "It broke.")

    response = serialize_error(LAMBDA, error, "id-1")

    parsed = read(response, name=code.value)
    assert parsed["Error"]["Code"] == code.value
    assert parsed["Error"]["Message"] == "It broke."
    assert response.status == error.status
    assert json.loads(response.body)["Type"] == ("User" if error.user_fault else "Service")


@pytest.mark.parametrize("code", [code for code in ErrorCode if code.value in LAMBDA.errors])
def test_the_platforms_statuses_are_the_models(code: ErrorCode) -> None:
    assert AWS_ERRORS[code] == LAMBDA.errors[code.value].status


def test_a_throttle_says_why_and_when_to_come_back() -> None:
    error = PlatformError(
        ErrorCode.TOO_MANY_REQUESTS, "Rate Exceeded.", "CallerRateLimitExceeded", retry_after_s=3
    )

    parsed = read(serialize_error(LAMBDA, error, "id-1"), name=error.code.value)

    assert parsed["Reason"] == "CallerRateLimitExceeded"
    assert parsed["retryAfterSeconds"] == "3"
    assert parsed["Type"] == "User"


def test_an_error_without_a_reason_has_no_reason() -> None:
    response = serialize_error(LAMBDA, PlatformError(ErrorCode.TOO_MANY_REQUESTS, "Rate."), "id-1")

    assert json.loads(response.body) == {"Type": "User", "message": "Rate."}
    assert "Retry-After" not in dict(response.headers)


def test_a_message_cannot_break_out_of_its_place() -> None:
    hostile = 'a"}\r\nx-evil: 1\r\n\r\n\x00\u2028'

    response = serialize_error(LAMBDA, PlatformError(ErrorCode.VALIDATION, hostile), "id-1")

    assert json.loads(response.body)["message"] == hostile
    assert all("\n" not in value for _, value in response.headers)


def test_boto3_raises_the_modelled_class(client: Any) -> None:
    error = PlatformError(ErrorCode.NOT_FOUND, "Function not found: arn:aws:lambda:…:function:f")

    def answer(**_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        response = serialize_error(LAMBDA, error, "id-1")
        headers = HeadersDict(dict(response.headers))
        answered = AWSResponse("http://localhost", response.status, headers, None)
        answered._content = response.body
        return answered

    client.meta.events.register("before-send.lambda.GetFunction", answer, unique_id="t")
    try:
        with pytest.raises(client.exceptions.ResourceNotFoundException, match="not found") as info:
            client.get_function(FunctionName="f")
    finally:
        client.meta.events.unregister("before-send.lambda.GetFunction", unique_id="t")
    assert info.value.response["Type"] == "User"
    assert info.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
