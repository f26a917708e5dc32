"""`make bench`, or `python -m benchmarks cold warm --quick`: run suites, print, write JSON."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from benchmarks import figures, machine
from benchmarks.connection import UnexpectedAnswerError
from benchmarks.service import NotAvailableError
from benchmarks.setting import ROOT, Setting

SUITES = (
    "cold",
    "burst",
    "sustained",
    "warm",
    "runtimes",
    "stream",
    "events",
    "memory",
    "snapstart",
    "concurrent",
    "contention",
    "scheduling",
    "peers",
)
RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    arguments = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    console = Console(width=None if sys.stdout.isatty() else 180)
    facts = machine.facts()
    console.print(machine.summary(facts), highlight=False)
    if facts["load_1m_at_start"] > machine.BUSY_LOAD:
        warning = "The machine is busy: expect noise, in absolute times most of all."
        console.print(warning, style="yellow")
    console.print()
    with tempfile.TemporaryDirectory(prefix="samovar-bench-") as directory:
        setting = Setting(
            Path(directory), arguments.samovar, arguments.isolation, quick=arguments.quick
        )
        try:
            found, failed = _run(console, arguments.suites or SUITES, setting)
        except KeyboardInterrupt:
            console.print("interrupted; everything that was started has been stopped")
            return 130
    document = {
        "machine": facts | {"load_1m_at_end": machine.load()},
        "isolation": setting.isolation_in_force,
        "quick": setting.quick,
        "failed": failed,
        "suites": {findings.suite: findings.document() for findings in found},
    }
    _write(console, document)
    return 1 if failed else 0


def _run(
    console: Console, suites: list[str] | tuple[str, ...], setting: Setting
) -> tuple[list[figures.Findings], dict[str, str]]:
    found = []
    failed = {}
    for name in suites:
        suite = importlib.import_module(f"benchmarks.suites.{name}")
        try:
            with console.status(f"{name}: {suite.TITLE}"):
                findings = suite.measure(setting)
        except (UnexpectedAnswerError, NotAvailableError) as error:
            failed[name] = str(error)
            console.print(f"{name} failed: {error}", style="red", highlight=False, markup=False)
            continue
        found.append(findings)
        figures.show(console, findings, f"{name}: {suite.TITLE}")
    return found, failed


def _write(console: Console, document: dict[str, Any]) -> None:
    now = dt.datetime.now(dt.UTC)
    document["finished"] = now.isoformat(timespec="seconds")
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    figures.write(path, document)
    figures.write(RESULTS / "latest.json", document)
    isolation = document["isolation"]
    if isolation:
        layers = ", ".join(isolation["layers"]) or "no layer"
        console.print(f"isolation in force: {isolation['driver']} ({layers})", highlight=False)
    console.print(f"written: {path.relative_to(ROOT)} and latest.json", highlight=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of: {', '.join(SUITES)}")
    parser.add_argument("--quick", action="store_true", help="few repeats: to see that it works")
    parser.add_argument("--isolation", default="auto", choices=("auto", "process", "none"))
    parser.add_argument("--samovar", type=Path, default=ROOT / ".venv" / "bin" / "samovar")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.suites) - set(SUITES))
    if unknown:
        parser.error(f"no such suite: {', '.join(unknown)}; there are: {', '.join(SUITES)}")
    return arguments


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
