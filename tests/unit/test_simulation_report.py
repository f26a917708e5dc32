"""What a simulation leaves for a person."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from samovar.simulator.plot import Line, plot
from samovar.simulator.replay import Machines
from samovar.simulator.report import markdown_table, write_report
from samovar.simulator.study import Row, as_they_come, study, swept
from tests.unit.simulated import GIB, every

MACHINES = Machines(workers=10, memory_mib=8 * GIB)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    trace = every(300.0, 1800.0)
    return list(study(trace, as_they_come(["fixed", "thrift"]), MACHINES, [1.0, 2.0], seed=1))


def test_all_numbers_are_in_the_json(rows: list[Row], tmp_path: Path) -> None:
    write_report(tmp_path, {"seed": 1}, rows)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["how"] == {"seed": 1}
    assert [row["policy"] for row in report["rows"]] == ["fixed", "thrift"] * 2
    assert report["rows"][0]["cold"] == 1


def test_the_page_shows_every_plot_that_is_written(rows: list[Row], tmp_path: Path) -> None:
    written = write_report(tmp_path, {"seed": 1}, rows)
    page = (tmp_path / "report.md").read_text()
    plots = [path.name for path in written if path.suffix == ".svg"]
    assert {"pareto-cold-percent.svg", "oversubscription-refused.svg"} <= set(plots)
    assert all(f"]({name})" in page for name in plots)


def test_the_table_leaves_out_what_is_the_same_for_all(rows: list[Row]) -> None:
    head = markdown_table(rows[:2]).splitlines()[0]
    assert "policy" in head and "refused" not in head and "subscribed" not in head


def test_a_plot_is_xml_whatever_the_names_are() -> None:
    lines = [Line("<a> & b", [(10.0, 0.0), (1e6, 100.0)], ["1 < 2", '"']), Line("empty", [])]
    for logarithmic in (False, True):
        root = ET.fromstring(plot("t<", "x", "y", lines, logarithmic_x=logarithmic))
        assert "<a> & b" in {element.text for element in root.iter()}


def test_a_plot_of_nothing_is_empty_axes() -> None:
    assert ET.fromstring(plot("nothing", "x", "y", [])).tag.endswith("svg")


def test_each_knob_is_swept_over_different_positions() -> None:
    variants = swept(["fixed", "histogram", "greedy-dual", "thrift"])
    assert len({(variant.policy, variant.knob) for variant in variants}) == len(variants) > 20
    assert all(variant.make().name == variant.policy for variant in variants)
