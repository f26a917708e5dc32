"""Who calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.frontend.auth import Caller, authenticate
from samovar.model.errors import ErrorCode, PlatformError

SCOPE = "test/20261123/eu-west-1/lambda/aws4_request"


def signed(credential, rest=", SignedHeaders=host, Signature=0"):
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={credential}{rest}"}


def test_the_region_is_that_of_the_signature_and_any_key_is_accepted():
    assert authenticate(signed(SCOPE), {}) == Caller("000000000000", "eu-west-1")


def test_a_key_of_twelve_digits_is_an_account():
    caller = authenticate(signed(SCOPE.replace("test", "123456789012")), {})
    assert caller.account == "123456789012"


def test_the_credential_may_be_anywhere_in_the_header():
    header = f"AWS4-HMAC-SHA256 SignedHeaders=host, Credential={SCOPE}, Signature=0"
    assert authenticate({"authorization": header}, {}).region == "eu-west-1"


def test_a_presigned_url_is_accepted():
    query = {"X-Amz-Credential": [SCOPE.replace("/", "%2F")]}
    assert authenticate({}, query).region == "eu-west-1"


def test_without_credentials_a_request_is_refused():
    with pytest.raises(PlatformError) as refused:
        authenticate({}, {})
    assert refused.value.code is ErrorCode.MISSING_TOKEN


@pytest.mark.parametrize("filler", [" ", ",", ", ", " ,", "Credential=", "a/"])
def test_a_long_hostile_header_is_refused_at_once(filler):
    header = "AWS4-HMAC-SHA256" + " " * 100_000 + filler * 100_000
    with pytest.raises(PlatformError) as refused:
        authenticate({"authorization": header}, {})
    assert refused.value.code is ErrorCode.INCOMPLETE_SIGNATURE


def test_spaces_around_the_credential_do_not_matter():
    for header in (
        f"AWS4-HMAC-SHA256   Credential={SCOPE}",
        f"AWS4-HMAC-SHA256 Signature=0,   Credential={SCOPE}",
        f"AWS4-HMAC-SHA256 Signature=0,Credential={SCOPE}",
    ):
        assert authenticate({"authorization": header}, {}).region == "eu-west-1"


@pytest.mark.parametrize(
    "header",
    ["", "Basic dGVzdA==", "Bearer x", "AWS4-HMAC-SHA256", f"AWS4-HMAC-SHA256 {SCOPE}"]
    + [
        signed(credential)["authorization"]
        for credential in (
            "test",
            "test/2026/eu-west-1/lambda/aws4_request",
            "test/20261123/EU_WEST/lambda/aws4_request",
            "test/20261123/../lambda/aws4_request",
            f"{'x' * 257}/20261123/eu-west-1/lambda/aws4_request",
        )
    ],
)
def test_what_is_no_signature_is_refused(header):
    with pytest.raises(PlatformError) as refused:
        authenticate({"authorization": header}, {})
    assert refused.value.code is ErrorCode.INCOMPLETE_SIGNATURE


def test_digits_of_other_scripts_are_no_account():
    query = {"X-Amz-Credential": [SCOPE.replace("test", "١" * 12)]}
    assert authenticate({}, query).account == "000000000000"


@given(st.text(max_size=80))
def test_any_header_is_a_caller_or_refused(text):
    for header in (text, f"AWS4-HMAC-SHA256 Credential={text}"):
        try:
            caller = authenticate({"authorization": header}, {})
        except PlatformError:
            continue
        assert caller.account.isascii() and caller.region.isascii()
