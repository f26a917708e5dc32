"""The trace header's account of how often a chain of requests has come through a function."""

from __future__ import annotations

import pytest

from samovar.model import lineage
from samovar.model.function import FunctionId

ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"


def function(name: str) -> FunctionId:
    return FunctionId("000000000000", "us-east-1", name)


def test_the_first_of_a_chain_has_been_nowhere() -> None:
    header, rounds = lineage.enter(ROOT, function("a"))
    assert rounds == 0
    assert header.startswith(f"{ROOT};Lineage=")
    assert header.endswith(":0")


def test_rounds_are_counted_for_each_function() -> None:
    header = ROOT
    seen = []
    for name in ("a", "b", "a", "b", "a", "c"):
        header, rounds = lineage.enter(header, function(name))
        seen.append(rounds)
    assert seen == [0, 0, 1, 1, 2, 0]
    assert header.startswith(ROOT)


def test_aws_own_lineage_is_kept_beside_ours() -> None:
    header, rounds = lineage.enter(f"{ROOT};Lineage=25:a87bd80c:1|68fd508a:5", function("a"))
    assert rounds == 0
    assert ";Lineage=a87bd80c:1|68fd508a:5|" in header


@pytest.mark.parametrize(
    "hostile",
    [
        "Lineage=",
        "Lineage=:::|||",
        "Lineage=zzzzzzzz:99999999999999999999",
        ";;;;Lineage=a;Lineage=b;",
        "Root=" + "x" * 507,
        "Self=" + "y" * 480 + ";Root=1-2-3",
        "Lineage=" + "|".join(f"{n:08x}:1" for n in range(38)),
    ],
)
def test_whatever_comes_a_header_that_is_short_enough_and_counts_comes_out(hostile: str) -> None:
    header, first = lineage.enter(hostile, function("a"))
    for expected in (1, 2):
        header, rounds = lineage.enter(header, function("a"))
        assert rounds == expected
        assert len(header) <= lineage.MAX_HEADER_CHARS
    assert first == 0


def test_a_loop_through_many_functions_is_seen() -> None:
    header = ROOT
    for round_ in range(lineage.MAX_ROUNDS + 1):
        for number in range(lineage.MAX_FUNCTIONS):
            header, rounds = lineage.enter(header, function(f"f{number}"))
            assert rounds == round_
    assert header.startswith("Root=")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (ROOT, True),
        (f"{ROOT};Lineage=25:a87bd80c:1|68fd508a:5", True),
        (f"Self=1-2;{ROOT}", True),
        (None, False),
        ("", False),
        ("junk", False),
        ("Root=1-2-3;Sampled=1", False),
        ("Parent=53995c3f42cd8ad8;Sampled=0", False),
        (f"{ROOT};", False),
        (f"{ROOT};a=<script>", False),
        (f"{ROOT};a={'b' * 400};c={'d' * 400}", False),
    ],
)
def test_services_are_given_headers_that_they_take(header, expected) -> None:
    assert lineage.well_formed(header) is expected


def test_a_batch_has_been_round_as_often_as_the_worst_of_it() -> None:
    once, _ = lineage.enter(ROOT, function("a"))
    twice, _ = lineage.enter(once, function("a"))
    assert lineage.longest([None, once, twice, ROOT, "\0" * 4, "x" * 600]) == twice
    assert lineage.longest([None, ""]) is None
