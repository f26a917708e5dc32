"""Invoke over ASGI: parsing, limits, refusals, and what the answer's headers say."""

from __future__ import annotations

import base64
import dataclasses
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from samovar.frontend.invoke import check_json
from samovar.model.errors import PlatformError, ThrottleReason
from samovar.model.function import State
from samovar.model.invocation import MAX_PAYLOAD_BYTES
from samovar.ports import InitFailedError
from tests.contract.samples import a_version, an_alias, function_id
from tests.unit.known_functions import ACTIVE, front_door
from tests.unit.scripted_worker import until

URL = "/2015-03-31/functions/{}/invocations"


def error_of(answer):
    return answer.status, answer["x-amzn-errortype"]


async def test_the_answer_is_what_the_function_returned(tmp_path):
    async with front_door() as door:
        door.returns(b'{"a": 1}')
        answer = await door.invoke(b"{}")
        assert (answer.status, answer.body) == (200, b'{"a": 1}')
        assert answer["content-type"] == "application/json"
        assert answer["x-amz-executed-version"] == "$LATEST"
        assert answer["x-samovar-start"].startswith("cold; cause=first")
        assert answer["server-timing"].startswith("queue;dur=")
        assert len(answer["x-amzn-requestid"]) == 36
        assert answer.all("x-amz-function-error") == answer.all("x-amz-log-result") == []


async def test_an_error_of_the_function_is_a_200_that_says_so():
    async with front_door() as door:
        door.returns(b'{"errorType":"X"}', function_error="Unhandled")
        answer = await door.invoke()
        assert (answer.status, answer["x-amz-function-error"]) == (200, "Unhandled")


async def test_a_failed_init_is_an_error_of_the_function():
    async with front_door() as door:
        door.worker.failures.append(InitFailedError(b'{"errorType":"X"}', b"the log"))
        answer = await door.invoke(headers={"x-amz-log-type": "Tail"})
        assert (answer.status, answer["x-amz-function-error"]) == (200, "Unhandled")
        assert base64.b64decode(answer["x-amz-log-result"]) == b"the log"


async def test_the_log_tail_comes_in_base64_if_it_was_asked_for():
    async with front_door() as door:
        door.returns(b"1", log_tail=b"START\nEND\n")
        answer = await door.invoke(headers={"x-amz-log-type": "Tail"})
        assert base64.b64decode(answer["x-amz-log-result"]) == b"START\nEND\n"


async def test_a_body_in_pieces_is_one_event():
    async with front_door() as door:
        seen = recorded(door)
        await door.invoke([b'{"a"', b"", b": 1}"])
        assert seen[0].payload == b'{"a": 1}'


async def test_no_body_is_an_empty_event():
    async with front_door() as door:
        seen = recorded(door)
        await door.invoke(b"")
        assert seen[0].payload == b"{}"


def recorded(door):
    """The invocations that reach the worker from now on."""
    seen, invoke = [], door.worker.invoke

    async def record(instance, invocation, sink=None):
        seen.append(invocation)
        return await invoke(instance, invocation, sink)

    door.worker.invoke = record
    return seen


@pytest.mark.parametrize(
    ("name", "arn"),
    [
        ("f", function_id().arn),
        ("f:1", function_id().qualified_arn("1")),
        ("f?Qualifier=live", function_id().qualified_arn("live")),
        (function_id().arn.replace(":", "%3A"), function_id().arn),
        ("f?Qualifier=", function_id().arn),
    ],
)
async def test_the_function_is_told_how_it_was_named(name, arn):
    one = dataclasses.replace(ACTIVE, version="1", revision_id="one")
    async with front_door(ACTIVE, one) as door:
        door.store.aliases[ACTIVE.id, "live"] = an_alias(version="1")
        seen = recorded(door)
        name, _, query = name.partition("?")
        answer = await door.ask("POST", f"{URL.format(name)}?{query}", b"{}")
        assert answer.status == 200
        assert seen[0].function_arn == arn


async def test_the_client_context_and_the_trace_reach_the_function():
    async with front_door() as door:
        seen = recorded(door)
        context = base64.b64encode(b'{"custom": {"a": 1}}').decode()
        await door.invoke(
            headers={"x-amz-client-context": context, "x-amzn-trace-id": "Root=1-2-3;Sampled=1"}
        )
        assert seen[0].client_context == '{"custom": {"a": 1}}'
        assert seen[0].trace_id.startswith("Root=1-2-3;Sampled=1;Lineage=")


@pytest.mark.parametrize("given", ["", "x" * 513, "Root=\xff", "a b"])
async def test_a_trace_header_that_is_none_is_replaced(given):
    async with front_door() as door:
        seen = recorded(door)
        await door.invoke(headers={"x-amzn-trace-id": given})
        assert seen[0].trace_id.startswith("Root=1-")


async def test_a_dry_run_runs_nothing():
    async with front_door() as door:
        answer = await door.invoke(headers={"x-amz-invocation-type": "DryRun"})
        assert (answer.status, answer.body, answer.all("content-length")) == (204, b"", [])
        assert door.worker.asked == []


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({"x-amz-invocation-type": "Soon"}, (400, "ValidationException")),
        ({"x-amz-log-type": "All"}, (400, "ValidationException")),
        ({"x-amz-tenant-id": "t"}, (400, "InvalidParameterValueException")),
        ({"x-amz-tenant-id": "a;b"}, (400, "ValidationException")),
        ({"x-amz-client-context": "{}"}, (400, "InvalidRequestContentException")),
        ({"x-amz-client-context": "MQ=="}, (400, "InvalidRequestContentException")),
        ({"x-amz-client-context": "\xff"}, (400, "InvalidRequestContentException")),
        ({"x-amz-client-context": "a" * 3584}, (413, "RequestTooLargeException")),
        ({"authorization": "Bearer x"}, (400, "IncompleteSignatureException")),
        (
            {"content-length": str(MAX_PAYLOAD_BYTES + 1)},
            (413, "RequestTooLargeException"),
        ),
        ({"content-length": "9" * 5000}, (413, "RequestTooLargeException")),
    ],
)
async def test_what_the_headers_may_not_say_is_refused(headers, error):
    async with front_door() as door:
        assert error_of(await door.invoke(headers=headers)) == error
        assert door.worker.asked == []


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (URL.format("g"), (404, "ResourceNotFoundException")),
        (URL.format("f") + "?Qualifier=live", (404, "ResourceNotFoundException")),
        (URL.format("f") + "?Qualifier=a%20b", (400, "ValidationException")),
        (URL.format("f%20"), (400, "ValidationException")),
        (URL.format("f%0a"), (400, "ValidationException")),
        (URL.format("%ff"), (400, "ValidationException")),
        (URL.format("f:1") + "?Qualifier=2", (400, "InvalidParameterValueException")),
        (URL.format(""), (404, "UnknownOperationException")),
    ],
)
async def test_a_name_that_names_nothing_is_refused(target, error):
    async with front_door() as door:
        assert error_of(await door.ask("POST", target, b"{}")) == error


async def test_without_a_signature_an_invocation_is_refused():
    async with front_door() as door:
        answer = await door.invoke(signed=False)
        assert error_of(answer) == (403, "MissingAuthenticationTokenException")


@pytest.mark.parametrize("body", [b"{", b"{}x", b"'a'", b"\xff", b'"\xff"', b"NaN", b"[" * 100_000])
async def test_a_payload_that_is_not_json_is_refused(body):
    async with front_door() as door:
        answer = await door.invoke(body)
        assert error_of(answer) == (400, "InvalidRequestContentException")
        assert b"Could not parse request body into json" in answer.body


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_payload_over_the_limit_is_refused_and_one_at_the_limit_is_not(pieces):
    def event(size):
        whole = b" " * (size - 2) + b"{}"
        step = -(-size // pieces)
        return [whole[at : at + step] for at in range(0, size, step)]

    async with front_door() as door:
        answer = await door.invoke(event(MAX_PAYLOAD_BYTES + 1))
        assert error_of(answer) == (413, "RequestTooLargeException")
        assert b"Request must be smaller than 6291456 bytes for the InvokeFunction" in answer.body
        assert (await door.invoke(event(MAX_PAYLOAD_BYTES))).status == 200


async def test_a_client_that_leaves_before_its_request_is_complete_gets_and_starts_nothing():
    async with front_door() as door:
        answer = await door.invoke([b'{"a"'], gone=True)
        assert answer.status == 0
        assert door.worker.asked == []


async def test_over_a_limit_the_answer_is_a_429_with_awss_reason():
    async with front_door() as door:
        door.manager.set_reserved_concurrency(ACTIVE.id, 0)
        answer = await door.invoke()
        assert error_of(answer) == (429, "TooManyRequestsException")
        assert json.loads(answer.body)["Reason"] == ThrottleReason.RESERVED_CONCURRENCY


async def test_a_function_that_failed_to_deploy_is_refused():
    failed = a_version(state=State.FAILED)
    async with front_door(failed) as door:
        door.worker.failures.append(OSError("disk"))  # it is tried once more
        assert error_of(await door.invoke()) == (409, "ResourceConflictException")


async def test_a_defect_of_ours_is_told_without_its_details():
    async with front_door() as door:

        def break_down(instance):
            raise ZeroDivisionError("secret")

        door.worker.on_invoke = break_down
        answer = await door.invoke()
        assert error_of(answer) == (500, "ServiceException")
        assert b"ZeroDivisionError" in answer.body
        assert b"secret" not in answer.body
        await until(lambda: not door.worker.alive)


# ---------------------------------------------------------------- what counts as JSON

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_every_json_value_passes(value):
    for ascii_only in (True, False):
        try:
            text = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False).encode()
        except ValueError:
            return  # lone surrogates and infinities are no JSON text
        check_json(text)


@given(st.binary(max_size=12) | st.text('{}[]",:0123eE+-.tru \\u', max_size=12).map(str.encode))
@example(b'"\\ud800"')
@example(b"01")
@example(b'{"a":1,}')
def test_what_passes_can_be_read_by_a_function(payload):
    try:
        check_json(payload)
    except PlatformError:
        return
    json.loads(payload)


async def test_a_slash_at_the_end_of_the_path_means_nothing():
    async with front_door() as door:
        answer = await door.ask("POST", "/2015-03-31/functions/f/invocations/", b"{}")
        assert answer.status == 200
