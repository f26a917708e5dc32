"""Metrics, as Prometheus's own parser reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from samovar.frontend.look import MAX_FUNCTIONS
from samovar.frontend.metrics import MAX_LABEL_CHARS, METRICS, exposition
from samovar.model.function import FunctionId
from tests.contract.samples import function_id
from tests.unit.census_samples import (
    COUNTS,
    a_function_census,
    a_look,
    a_manager_census,
    a_status,
    a_worker_census,
)

MIB = 1 << 20
CAPACITY_PAGE = Path(__file__).parents[2] / "docs/operate/capacity.md"


def read(look):
    """Sample name → (labels, value) of each."""
    families = list(text_string_to_metric_families(exposition(look).decode()))
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def full_look():
    counted = a_manager_census(a_function_census(), counts={function_id("f"): COUNTS})
    return a_look(counted, a_worker_census(a_status(vcpus=8.0, free_vcpus=6.5)))


def test_every_metric_is_told_and_no_other():
    assert read(full_look()).keys() == METRICS.keys()


def test_counters_are_told_as_such():
    families = text_string_to_metric_families(exposition(full_look()).decode())
    told = {family.name: family.type for family in families}
    for metric in METRICS.values():
        expected = "counter" if metric.counter else "gauge"
        assert told[metric.name.removesuffix("_total")] == expected
        assert metric.name.endswith("_total") is metric.counter


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("samovar_worker_memory_promised_bytes", 3072 * MIB),
        ("samovar_worker_memory_promisable_bytes", 4096 * MIB),
        ("samovar_worker_memory_used_bytes", 512 * MIB),
        ("samovar_worker_memory_usable_bytes", 2048 * MIB),
        ("samovar_worker_vcpus_promised", 1.5),
        ("samovar_worker_admits", 1),
        ("samovar_function_memory_used_bytes", 300 * MIB),
        ("samovar_function_failed_starts_total", 2),
        ("samovar_concurrency_in_use", 10),
    ],
)
def test_promised_and_real_stand_beside_each_other(name, value):
    assert read(full_look())[name][0][1] == value


def test_states_causes_and_reasons_are_labels():
    found = read(full_look())
    causes = {
        labels["cause"]: value for labels, value in found["samovar_function_cold_starts_total"]
    }
    assert causes == {"first": 1, "scale-out": 4}
    requests = {labels["state"]: value for labels, value in found["samovar_function_requests"]}
    assert requests == {"running": 3, "waiting": 7}
    (worker, _), *_ = found["samovar_worker_instances"]
    assert worker == {"worker": "w1", "zone": "rack-1", "state": "starting"}


def test_where_processors_are_not_counted_there_is_no_figure_for_what_may_be_promised():
    look = a_look(a_manager_census(), a_worker_census())
    assert "samovar_worker_vcpus_promisable" not in read(look)


def test_functions_that_are_too_many_are_counted_together():
    found = read(a_look(a_manager_census(other_counts=COUNTS)))
    (labels, value), *_ = found["samovar_function_evictions_total"]
    assert (labels["function"], value) == ("(others)", 6)


@given(region=st.text(), zone=st.text())
def test_no_label_breaks_out_of_its_place(region, zone):
    function = FunctionId("000000000000", region, "f")
    look = a_look(
        a_manager_census(a_function_census(function), counts={function: COUNTS}),
        a_worker_census(a_status(zone=zone)),
    )
    found = read(look)
    assert found.keys() <= METRICS.keys()
    ((labels, _),) = found["samovar_function_provisioned_instances"]
    assert labels.keys() == {"account", "region", "function"}
    lines = exposition(look).count(b"\n")
    assert lines == exposition(full_look()).count(b"\n") - 1  # that of the promisable vCPUs


def test_a_label_says_what_was_given_but_for_its_length():
    hostile = 'a"b\\n{c="d"} 1\nsamovar_worker_admits 0 ' + "x" * 1000
    function = FunctionId("0", hostile, "f")
    found = read(a_look(a_manager_census(a_function_census(function))))
    ((labels, _),) = found["samovar_function_provisioned_instances"]
    assert labels["region"] == hostile[:MAX_LABEL_CHARS]


def test_the_page_is_bounded_however_many_functions_there_are():
    many = [a_function_census(function_id(f"f{number}")) for number in range(MAX_FUNCTIONS + 50)]
    busiest = a_function_census(function_id("busiest"), running=1000)
    found = read(a_look(a_manager_census(*many, busiest)))
    told = [labels["function"] for labels, _ in found["samovar_function_provisioned_instances"]]
    assert (len(told), told[0]) == (MAX_FUNCTIONS, "busiest")
    assert found["samovar_functions_left_out"] == [({}, 51)]


def test_the_page_on_capacity_lists_every_metric_and_no_other():
    listed = re.findall(r"^\| `(samovar_\w+)`", CAPACITY_PAGE.read_text(), re.M)
    assert sorted(listed) == sorted(METRICS)
