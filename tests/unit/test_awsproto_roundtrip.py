"""Every operation of every service: what botocore sends is what we read, and the other way."""

from __future__ import annotations

from io import BytesIO

import pytest
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samovar.awsproto import ServiceModel, parse_request, serialize_response, validate
from tests.unit.awsproto_strategies import botocore_model, inputs, operations, results, send

SETTINGS = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
EVENT_STREAMS = {"InvokeWithResponseStream"}

every_operation = pytest.mark.parametrize(("service", "name"), operations())


@every_operation
@SETTINGS
@given(data=st.data())
def test_a_request_of_botocore_is_read_as_it_was_meant(
    service: str, name: str, data: st.DataObject
) -> None:
    operation = botocore_model(service).operation_model(name)
    params = data.draw(inputs(operation))
    sent = send(operation, params)

    match = ServiceModel.load(service).route(sent.method, sent.path, sent.query)

    assert match is not None
    assert match.operation.name == name
    parsed = parse_request(match, sent.query, sent.headers, sent.body)
    payload = operation.input_shape.serialization.get("payload")
    if parsed.get(payload) == {}:
        # For botocore, no payload and an empty one are the same.
        params.setdefault(payload, {})
    assert parsed == params
    validate(match.operation, parsed)


@every_operation
@SETTINGS
@given(data=st.data())
def test_botocore_reads_a_response_as_it_was_meant(
    service: str, name: str, data: st.DataObject
) -> None:
    model = botocore_model(service).operation_model(name)
    if name in EVENT_STREAMS:
        pytest.skip("its output is an event stream")
    result = data.draw(results(model)) if model.output_shape else {}

    response = serialize_response(ServiceModel.load(service).operations[name], result)

    stream = BytesIO(response.body)
    parsed = create_parser("rest-json").parse(
        {
            "status_code": response.status,
            "headers": HeadersDict(dict(response.headers)),
            "body": stream if model.has_streaming_output else response.body,
        },
        model.output_shape,
    )
    parsed.pop("ResponseMetadata")
    for member, shape in getattr(model.output_shape, "members", {}).items():
        if shape.serialization.get("location") == "statusCode":
            assert parsed.pop(member) == response.status
            result.pop(member, None)
        elif parsed.get(member) is stream:
            parsed[member] = stream.read()
    assert parsed == result
