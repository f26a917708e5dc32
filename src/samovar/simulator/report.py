"""What a study leaves: report.md for a person, report.json with all numbers, plots as SVG."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samovar.simulator.plot import Line, plot
from samovar.simulator.study import Row

FIGURES: Mapping[str, tuple[str, str]] = {
    "policy": ("policy", "{}"),
    "knob": ("", "{}"),
    "oversubscription": ("over-subscribed ×", "{:g}"),
    "cold_percent_p50": ("cold p50 of functions %", "{:.2f}"),
    "cold_percent_p75": ("p75 %", "{:.2f}"),
    "cold_percent_p99": ("p99 %", "{:.2f}"),
    "cold_percent_mean": ("mean %", "{:.2f}"),
    "cold_percent": ("cold of all calls %", "{:.3f}"),
    "idle_gib_s": ("idle GiB·s", "{:,.0f}"),
    "utilisation_percent": ("memory held %", "{:.1f}"),
    "wait_p50_ms": ("wait p50 ms", "{:,.0f}"),
    "wait_p99_ms": ("wait p99 ms", "{:,.0f}"),
    "queued": ("queued", "{:,}"),
    "refused": ("refused", "{:,}"),
    "starts": ("starts", "{:,}"),
    "calls_per_s": ("calls simulated per s", "{:,.0f}"),
}
"""Of a row → what its column is called, and how it is written."""

PARETO = {"cold_percent_p75": "p75 of functions", "cold_percent": "of all calls"}


def write_report(folder: Path, how: Mapping[str, Any], rows: Sequence[Row]) -> list[Path]:
    """Write everything; return what was written. `how` is how the study came about."""
    folder.mkdir(parents=True, exist_ok=True)
    plots = {f"{name}.svg": svg for name, svg in _plots(rows).items()}
    files = {
        "report.md": _page(how, rows, sorted(plots)),
        "report.json": json.dumps({"how": how, "rows": [asdict(row) for row in rows]}, indent=1),
        **plots,
    }
    written = [folder / name for name in files]
    for path, text in zip(written, files.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return written


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows, as Markdown; what is the same for all of them is left out."""
    columns = [name for name in FIGURES if len(rows) == 1 or _differs(rows, name)]
    lines = ["| " + " | ".join(FIGURES[name][0] for name in columns) + " |"]
    lines.append("|" + "---|" * len(columns))
    for row in rows:
        cells = (FIGURES[name][1].format(getattr(row, name)) for name in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _differs(rows: Sequence[Row], name: str) -> bool:
    return name == "policy" or len({getattr(row, name) for row in rows}) > 1


def _page(how: Mapping[str, Any], rows: Sequence[Row], plots: Sequence[str]) -> str:
    parts = ["# Simulation", ""]
    parts += [f"- {what}: {value}" for what, value in how.items()]
    parts += ["", markdown_table(rows), ""]
    parts += [f"![{name.removesuffix('.svg')}]({name})" for name in plots]
    return "\n".join([*parts, ""])


def _plots(rows: Sequence[Row]) -> dict[str, str]:
    plots = {}
    for ratio in sorted({row.oversubscription for row in rows}):
        those = [row for row in rows if row.oversubscription == ratio]
        for figure, what in PARETO.items():
            lines = [_pareto_line(policy, those, figure) for policy in _policies(those)]
            name = f"pareto-{figure.replace('_', '-')}" + (f"-x{ratio:g}" if ratio != 1 else "")
            plots[name] = plot(
                "Cold starts and wasted memory", "idle GiB·s", f"cold starts, % {what}", lines
            )
    if len({row.oversubscription for row in rows}) > 1:
        for figure, what in {"refused": "refused calls", "utilisation_percent": "held, %"}.items():
            lines = [
                Line(policy, [(row.oversubscription, getattr(row, figure)) for row in those])
                for policy in _policies(rows)
                if (those := [row for row in rows if row.policy == policy])
            ]
            plots[f"oversubscription-{figure.replace('_', '-')}"] = plot(
                "Oversubscription of memory", "promised ÷ real", what, lines
            )
    return plots


def _policies(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.policy for row in rows))


def _pareto_line(policy: str, rows: Sequence[Row], figure: str) -> Line:
    those = sorted((row for row in rows if row.policy == policy), key=lambda row: row.idle_gib_s)
    points = [(row.idle_gib_s, getattr(row, figure)) for row in those]
    return Line(policy, points, [row.knob for row in those])
