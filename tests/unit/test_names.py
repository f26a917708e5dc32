"""The ways to name a function."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_function_name
from samovar.model.errors import ErrorCode, PlatformError
from tests.contract.samples import ACCOUNT, REGION, function_id

CALLER = Caller(ACCOUNT, REGION)
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"


@pytest.mark.parametrize(
    ("raw", "qualifier"),
    [
        ("f", None),
        ("f:1", "1"),
        ("f:$LATEST", "$LATEST"),
        ("f:live", "live"),
        ("function:f", None),
        (f"{ACCOUNT}:function:f", None),
        (f"{ACCOUNT}:function:f:live", "live"),
        (ARN, None),
        (f"{ARN}:live", "live"),
        (f"{ARN}:$LATEST", "$LATEST"),
    ],
)
def test_every_form_names_the_function_and_its_qualifier(raw, qualifier):
    assert parse_function_name(raw, CALLER) == (function_id(), qualifier)


def test_a_qualifier_may_come_beside_the_name_and_say_the_same():
    assert parse_function_name("f", CALLER, "live") == (function_id(), "live")
    assert parse_function_name("f:live", CALLER, "live") == (function_id(), "live")


@pytest.mark.parametrize(
    ("raw", "qualifier", "code"),
    [
        ("", None, ErrorCode.VALIDATION),
        ("a b", None, ErrorCode.VALIDATION),
        ("f\n", None, ErrorCode.VALIDATION),
        ("../f", None, ErrorCode.VALIDATION),
        ("f" * 65, None, ErrorCode.VALIDATION),
        ("f:", None, ErrorCode.VALIDATION),
        ("f:a:b", None, ErrorCode.VALIDATION),
        ("f:$latest", None, ErrorCode.VALIDATION),
        (f"arn:aws:s3:{REGION}:{ACCOUNT}:function:f", None, ErrorCode.VALIDATION),
        ("f", "a b", ErrorCode.VALIDATION),
        ("f", "١", ErrorCode.VALIDATION),
        ("f", "x" * 129, ErrorCode.VALIDATION),
        ("f:1", "2", ErrorCode.INVALID_PARAMETER),
        (ARN.replace(REGION, "eu-west-1"), None, ErrorCode.NOT_FOUND),
        (ARN.replace(ACCOUNT, "111111111111"), None, ErrorCode.ACCESS_DENIED),
    ],
)
def test_what_names_no_function_of_the_caller_is_refused(raw, qualifier, code):
    with pytest.raises(PlatformError) as refused:
        parse_function_name(raw, CALLER, qualifier)
    assert refused.value.code is code


def test_a_refusal_does_not_repeat_a_huge_name():
    with pytest.raises(PlatformError) as refused:
        parse_function_name("!" * 100_000, CALLER)
    assert len(refused.value.message) < 1000


@given(st.text(max_size=40), st.none() | st.text(max_size=10))
@example("f" * 40, "$LATEST.PUBLISHED")
def test_any_text_is_a_good_name_or_refused(raw, qualifier):
    try:
        function, found = parse_function_name(raw, CALLER, qualifier)
    except PlatformError:
        return
    assert function.name.isascii() and function.name
    assert found is None or found.isascii()
