"""What the benchmarks found: figures with their references, as a table and as JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number beside one that was measured in the same run."""

    what: str
    value: float
    unit: str
    reference: str = ""
    reference_value: float | None = None
    aim: float | None = None
    """The ratio to the reference, or without one the value, that is aimed at."""
    more_is_better: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """To the reference."""
        return self.value / self.reference_value if self.reference_value else None

    @property
    def reaches_aim(self) -> bool | None:
        """None where there is no aim."""
        if self.aim is None:
            return None
        measured = self.value if self.ratio is None else self.ratio
        return measured >= self.aim if self.more_is_better else measured <= self.aim

    @property
    def aim_text(self) -> str:
        """`≤ 0.5 ✓`, …"""
        if self.aim is None:
            return ""
        sign = "≥" if self.more_is_better else "≤"
        return f"{sign} {self.aim:g} {'✓' if self.reaches_aim else '✗'}"

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ratio": self.ratio, "reaches_aim": self.reaches_aim}


@dataclass(slots=True)
class Findings:
    """What one suite found."""

    suite: str
    figures: list[Figure] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """What could not be measured → why."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """The raw numbers behind the figures, for whoever wants to see their distribution."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "figures": [figure.document() for figure in self.figures],
            "skipped": self.skipped,
            "samples": {name: [round(x, 4) for x in xs] for name, xs in self.samples.items()},
        }


def median(samples: Sequence[float]) -> float:
    """The middle; NaN of nothing."""
    return statistics.median(samples) if samples else math.nan


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of all do not exceed; NaN of nothing."""
    if not samples:
        return math.nan
    return sorted(samples)[max(0, math.ceil(share * len(samples)) - 1)]


def show(console: Console, findings: Findings, title: str) -> None:
    """Print one suite's table."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("beside")
    table.add_column("that", justify="right")
    table.add_column("ratio", justify="right")
    table.add_column("aim", justify="right")
    table.add_column("note", style="dim")
    for figure in findings.figures:
        beside = figure.reference_value
        table.add_row(
            figure.what,
            _quantity(figure.value, figure.unit),
            figure.reference,
            "" if beside is None else _quantity(beside, figure.unit),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            figure.aim_text,
            figure.note,
        )
    console.print(table)
    for what, why in findings.skipped.items():
        console.print(f"  skipped: {what}: {why}", style="yellow", highlight=False, markup=False)
    console.print()


def _quantity(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f} {unit}"


def write(path: Path, document: dict[str, Any]) -> None:
    """Write JSON, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    unfinished.replace(path)
