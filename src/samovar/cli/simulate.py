"""`samovar simulate`: a workload through the platform's own decisions, in virtual time."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from samovar.cli.failure import CommandError
from samovar.cli.printable import printable
from samovar.model.tuning import KEEP_ALIVE_POLICIES
from samovar.simulator.replay import Machines
from samovar.simulator.report import write_report
from samovar.simulator.study import Row, as_they_come, study, swept
from samovar.simulator.trace import Trace, TraceError
from samovar.simulator.trace_files import read_trace
from samovar.simulator.workload import SHAPES, Workload

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the flags say."""

    functions: int
    hours: float
    workers: int
    memory_gib: float
    policies: str
    oversubscription: str
    shape: str
    trace: Sequence[Path]
    max_rate: float
    sweep: bool
    seed: int


def simulate(wanted: Wanted, out: Path) -> None:
    """Run it, say how each run went, write the report. Raises `CommandError`."""
    names = _policies(wanted.policies)
    ratios = _ratios(wanted.oversubscription)
    trace = _trace(wanted)
    machines = Machines(wanted.workers, max(1, round(wanted.memory_gib * 1024)))
    variants = swept(names) if wanted.sweep else as_they_come(names)
    rows: list[Row] = []
    for row in study(trace, variants, machines, ratios, wanted.seed, _show_progress):
        _clear_progress()
        print(_line(row), flush=True)
        rows.append(row)
    how = {
        "workload": ", ".join(path.name for path in wanted.trace) or f"generated, {wanted.shape}",
        "functions": len(trace.functions),
        "hours": round(trace.length_s / HOUR_S, 2),
        "calls per minute of a function, at most": wanted.max_rate or "all",
        "workers": wanted.workers,
        "memory of each, GiB": wanted.memory_gib,
        "seed": wanted.seed,
    }
    try:
        write_report(out, how, rows)
    except OSError as error:
        raise CommandError(f"the report cannot be written: {error}") from error
    print(f"{out / 'report.md'} and its plots are written")


def _line(row: Row) -> str:
    name = f"{row.policy} {row.knob}".strip() + f", memory × {row.oversubscription:g}"
    return (
        f"{name}: cold {row.cold_percent:.2f} % of calls, {row.cold_percent_p75:.2f} % at the p75 "
        f"of functions; idle {row.idle_gib_s:,.0f} GiB·s; refused {row.refused:,}; "
        f"{row.calls_per_s:,.0f} calls/s simulated"
    )


def _show_progress(what: str, share: float) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{what}: {share:4.0%}\x1b[K")
        sys.stderr.flush()


def _clear_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _policies(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in KEEP_ALIVE_POLICIES]:
        raise _bad(f"there is no policy {unknown[0]!r}", ", ".join(KEEP_ALIVE_POLICIES))
    return names or list(KEEP_ALIVE_POLICIES)


def _ratios(text: str) -> list[float]:
    try:
        ratios = [float(ratio) for ratio in text.split(",")]
    except ValueError as error:
        raise _bad(f"{text!r} is no list of ratios", "1,2,4") from error
    if not all(0.1 <= ratio <= 1000 for ratio in ratios):
        raise _bad("a ratio is out of its range", "0.1 to 1000")
    return ratios


def _trace(wanted: Wanted) -> Trace:
    most = wanted.max_rate or math.inf
    if wanted.trace:
        try:
            return read_trace(wanted.trace, wanted.seed, most)
        except (TraceError, OSError) as error:
            raise CommandError(printable(str(error)), exit_status=2) from error
    if wanted.shape not in SHAPES:
        raise _bad(f"there is no shape {wanted.shape!r}", ", ".join(sorted(SHAPES)))
    length_s = wanted.hours * HOUR_S
    return Workload(SHAPES[wanted.shape], wanted.functions, length_s, wanted.seed, most)


def _bad(what: str, instead: str) -> CommandError:
    return CommandError(what, f"possible: {instead}", exit_status=2)
