"""Subscription requests: whatever comes, it is in order and within AWS's bounds, or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.guest.telemetry_subscription import (
    LOGS_VERSIONS,
    TELEMETRY_VERSIONS,
    TYPES,
    InvalidSubscriptionError,
    parse,
)

GOOD = {
    "schemaVersion": "2022-07-01",
    "types": ["platform"],
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243"},
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
uris = st.from_regex(r"https?://(sandbox(\.localdomain)?|x)(:\d{0,6})?(/[ -~]*)?", fullmatch=True)
destinations = st.fixed_dictionaries(
    {},
    optional={
        "protocol": st.sampled_from(["HTTP", "TCP"]) | anything,
        "URI": uris | anything,
        "port": st.integers(-1, 70_000) | anything,
        "method": st.sampled_from(["PUT", "POST"]) | anything,
    },
)
sizes = st.dictionaries(
    st.sampled_from(["maxItems", "maxBytes", "timeoutMs"]), st.integers(0, 2_000_000) | anything
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": st.sampled_from(TELEMETRY_VERSIONS + LOGS_VERSIONS) | anything,
        "types": st.lists(st.sampled_from(TYPES) | anything, max_size=4) | anything,
        "destination": destinations | anything,
        "buffering": sizes | anything,
    },
)


@given(requests, st.sampled_from([TELEMETRY_VERSIONS, LOGS_VERSIONS]))
def test_a_request_is_in_order_or_refused(request: object, versions: tuple[str, ...]) -> None:
    try:
        subscription = parse(json.dumps(request).encode(), versions, 9001)
    except InvalidSubscriptionError as error:
        assert str(error)
        return
    assert subscription.schema_version in versions
    assert subscription.types
    assert subscription.types <= set(TYPES)
    assert 0 < subscription.port < 65_536
    assert subscription.port != 9001
    assert subscription.path.startswith("/")
    assert subscription.path.isprintable()
    assert " " not in subscription.path
    assert 1_000 <= subscription.max_items <= 10_000
    assert 262_144 <= subscription.max_bytes <= 1_048_576
    assert 25 <= subscription.timeout_ms <= 30_000


@given(st.binary())
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidSubscriptionError):
        parse(body, TELEMETRY_VERSIONS, 9001)


def test_what_is_left_out_is_as_on_aws() -> None:
    subscription = parse(json.dumps(GOOD).encode(), TELEMETRY_VERSIONS, 9001)
    assert (subscription.max_items, subscription.max_bytes, subscription.timeout_ms) == (
        10_000,
        262_144,
        1_000,
    )
    assert (subscription.protocol, subscription.port, subscription.path) == ("HTTP", 4243, "/")
    assert subscription.method == "POST"
