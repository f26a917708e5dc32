"""What the rules of a function's scale come to, version by version."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.frontend.catalog import Target
from samovar.frontend.scales import check_provisioned, shares, total, wanted, with_alias, with_rule
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, CapacityProvider
from samovar.model.scale import Provisioned, ProvisionedStatus, Scale, ScaleRule
from samovar.scale_stores import Scales
from tests.contract.samples import a_version, an_alias, function_id

THEN = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
READY, FAILED, IN_PROGRESS = (
    ProvisionedStatus.READY,
    ProvisionedStatus.FAILED,
    ProvisionedStatus.IN_PROGRESS,
)


def provisioned(qualifier, count):
    return ScaleRule(function_id(), qualifier, THEN, provisioned=count)


def bounded(qualifier, least, most):
    return ScaleRule(function_id(), qualifier, THEN, min_instances=least, max_instances=most)


def published(number, **changes):
    return a_version(version=number, revision_id=f"v{number}", **changes)


@pytest.mark.parametrize(
    ("routing", "count", "expected"),
    [
        ({}, 7, {"1": 7}),
        ({"2": 0.5}, 10, {"1": 5, "2": 5}),
        ({"2": 0.1}, 10, {"1": 9, "2": 1}),
        ({"2": 0.1}, 1, {"1": 1, "2": 0}),
        ({"2": 0.0}, 3, {"1": 3, "2": 0}),
        ({"2": 1.0}, 3, {"1": 0, "2": 3}),
    ],
)
def test_an_alias_shares_out_by_its_weights(routing, count, expected):
    assert shares(provisioned("live", count), [an_alias(routing=routing)]) == expected


@given(count=st.integers(1, 100_000), weight=st.floats(0, 1))
def test_shares_are_the_whole_and_never_less_than_nothing(count, weight):
    found = shares(provisioned("live", count), [an_alias(routing={"2": weight})])
    assert sum(found.values()) == count
    assert min(found.values()) >= 0


def test_rules_of_versions_and_of_aliases_come_together():
    scales = Scales(
        [provisioned("live", 4), provisioned("3", 2), bounded(LATEST, 1, None), bounded("4", 0, 9)],
        [an_alias(routing={"2": 0.25})],
    )
    assert wanted(scales) == {
        "1": Scale(3),
        "2": Scale(1),
        "3": Scale(2),
        LATEST: Scale(0, 1, None),
        "4": Scale(0, 0, 9),
    }


def test_a_version_of_which_nothing_is_left_is_not_wanted():
    scales = Scales([provisioned("live", 1)], [an_alias(routing={"2": 0.1})])
    assert wanted(scales) == {"1": Scale(1)}


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [
        (a_version(), ErrorCode.INVALID_PARAMETER, "unpublished"),
        (published("1", snap_start=True), ErrorCode.INVALID_PARAMETER, "SnapStart"),
        (published("1", tenant_isolation=True), ErrorCode.INVALID_PARAMETER, "tenant"),
        (
            published("1", capacity_provider=CapacityProvider("a", 2)),
            ErrorCode.INVALID_PARAMETER,
            "capacity provider",
        ),
    ],
)
def test_what_cannot_be_provisioned_is_refused(version, code, words):
    with pytest.raises(PlatformError, match=words) as refused:
        check_provisioned(Scales(), version.version, [version])
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("there", "then", "words"),
    [("live", "1", "pointed to"), ("1", "live", "already"), ("other", "live", "already")],
)
def test_no_version_is_provisioned_from_two_sides(there, then, words):
    aliases = [an_alias(), an_alias("other", "2", routing={"1": 0.1})]
    scales = with_rule(Scales([provisioned(there, 1)], aliases), provisioned(then, 1))
    with pytest.raises(PlatformError, match=words) as refused:
        check_provisioned(scales, then, [published("1")])
    assert refused.value.code is ErrorCode.CONFLICT


def test_bounds_do_not_stand_in_the_way():
    scales = with_rule(Scales([bounded("1", 1, 2)], [an_alias()]), provisioned("live", 1))
    check_provisioned(scales, "live", [published("1")])


def test_an_alias_may_move_within_what_is_its_own():
    scales = Scales([provisioned("live", 1)], [an_alias()], [published("1")])
    moved = with_alias(scales, an_alias(version="2", routing={"1": 0.5}), [published("2")])
    check_provisioned(moved, "live", moved.versions)
    assert {version.version for version in moved.versions} == {"1", "2"}


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([READY, READY], READY),
        ([READY, IN_PROGRESS], IN_PROGRESS),
        ([IN_PROGRESS, FAILED], FAILED),
    ],
)
def test_what_several_versions_have_is_told_as_one(statuses, expected):
    parts = [Provisioned(3, 2, 1, status, status.value) for status in statuses]
    found = total(6, parts)
    assert (found.requested, found.allocated, found.available) == (6, 4, 2)
    assert found.status is expected
    assert found.reason == ("FAILED" if expected is FAILED else None)


@given(weight=st.floats(0, 1), count=st.integers(1, 500))
def test_requests_go_where_the_instances_are(weight, count):
    """Draws at even distances fall to each version as often as it has instances (or, by a rounding
    error, once more or less)."""
    alias = an_alias(routing={"2": weight})
    target = Target((published("1"), published("2")), tuple(alias.routing.values()))
    drawn = Counter(target.choose(lambda n=n: (n + 0.5) / count).version for n in range(count))
    for version, share in shares(provisioned("live", count), [alias]).items():
        assert abs(drawn[version] - share) <= 1
