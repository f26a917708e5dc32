"""`samovar top`: what is promised against what is real, of workers and of functions."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from samovar.cli.endpoint import Endpoint
from samovar.cli.printable import printable
from samovar.cli.table import table

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH_S = 1.0
BETWEEN_LOOKS_S = 0.5
"""How busy processors are shows in what changes between two looks."""

WORKER_COLUMNS = (
    "WORKER",
    "ADMITS",
    "PROMISED",
    "OF WHAT IS THERE",
    "USED",
    "USABLE",
    "VCPUS",
    "PROCESSORS",
    "WORK",
    "STALLED CPU/MEM",
    "BUSY",
    "IDLE",
    "STARTING",
    "TEMPLATES",
)
FUNCTION_COLUMNS = (
    "FUNCTION",
    "BUSY",
    "IDLE",
    "STARTING",
    "PROVISIONED",
    "RUNNING",
    "WAITING",
    "DECLARED",
    "USED",
    "COLD STARTS",
    "FAILED",
    "THROTTLED",
    "EVICTED",
)

Document = Mapping[str, Any]
Rows = list[Sequence[str]]


def once(endpoint: Endpoint, *, as_json: bool) -> str:
    """Return one look, as text or as the server's document."""
    first = _look(endpoint)
    if as_json:
        return json.dumps(first, indent=2)
    threading.Event().wait(BETWEEN_LOOKS_S)
    return text_of(first, _look(endpoint))


def watch(endpoint: Endpoint) -> None:
    """Show a look each second until interrupted; once where stdout is no terminal."""
    if not sys.stdout.isatty():
        print(once(endpoint, as_json=False))
        return
    from rich.live import Live

    with Live(auto_refresh=False, screen=True) as live:
        for before, now in _looks(endpoint):
            live.update(_screen(before, now), refresh=True)


def text_of(before: Document, now: Document) -> str:
    """Two looks as plain lines: the state at the second, the work between them."""
    parts = [_heading(now), "", table([WORKER_COLUMNS, *worker_rows(before, now)])]
    parts += [*_refusals(now), "", table([FUNCTION_COLUMNS, *function_rows(now)])]
    if now["functions_left_out"]:
        parts.append(f"and {now['functions_left_out']} functions more")
    return "\n".join(parts)


def worker_rows(before: Document, now: Document) -> Rows:
    """One row a worker."""
    busy_before = {worker["id"]: worker["processors"]["busy_s"] for worker in before["workers"]}
    passed_s = now["monotonic_s"] - before["monotonic_s"]
    rows: Rows = []
    for worker in now["workers"]:
        memory, processors, instances = (
            worker[part] for part in ("memory", "processors", "instances")
        )
        known_s = busy_before.get(worker["id"])
        work = "-"
        if known_s is not None and passed_s > 0:
            work = f"{(processors['busy_s'] - known_s) / passed_s:.1f}"
        rows.append(
            (
                printable(worker["id"], one_line=True),
                "yes" if worker["admits"] else "no",
                _mib(memory["promised_mib"]),
                _times(memory["promised_mib"], memory["usable_mib"]),
                f"{_mib(memory['used_mib'])} {_share(memory['used_mib'], memory['usable_mib'])}",
                _mib(memory["usable_mib"]),
                f"{processors['promised_vcpus']:.1f}",
                f"{processors['count']:g}",
                work,
                f"{processors['stalled']:.0%} / {memory['stalled']:.0%}",
                *(str(instances.get(state, 0)) for state in ("busy", "idle", "starting")),
                str(worker["templates"]),
            )
        )
    return rows


def function_rows(now: Document) -> Rows:
    """One row a function, the busiest first."""
    rows: Rows = []
    for function in now["functions"]:
        instances, memory = function["instances"], function["memory"]
        counts = function["counts"] or {}
        rows.append(
            (
                printable(function["name"], one_line=True),
                *(str(instances.get(state, 0)) for state in ("busy", "idle", "starting")),
                str(function["provisioned"]),
                str(function["running"]),
                str(function["waiting"]),
                _mib(memory["declared_mib"]),
                f"{_mib(memory['used_mib'])} {_share(memory['used_mib'], memory['declared_mib'])}",
                str(sum(counts.get("cold_starts", {}).values())),
                str(counts.get("failed_starts", 0)),
                str(sum(counts.get("throttles", {}).values())),
                str(counts.get("evictions", 0)),
            )
        )
    return rows


# ---------------------------------------------------------------- inside


def _look(endpoint: Endpoint) -> Document:
    with endpoint.ask("/_samovar/top") as response:
        found = json.loads(response.read())
    return found if isinstance(found, dict) else {}


def _looks(endpoint: Endpoint) -> Iterator[tuple[Document, Document]]:
    """Each look with the one before it."""
    pause = threading.Event()
    before = _look(endpoint)
    yield before, before
    while not pause.wait(REFRESH_S):
        now = _look(endpoint)
        yield before, now
        before = now


def _heading(now: Document) -> str:
    use = now["concurrency"]
    return f"requests at once: {use['in_use']} of {use['limit']}"


def _refusals(now: Document) -> list[str]:
    return [
        f"{printable(worker['id'], one_line=True)} admits nothing: "
        f"{printable(worker['why_not'], one_line=True)}"
        for worker in now["workers"]
        if not worker["admits"]
    ]


def _screen(before: Document, now: Document) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def shown(columns: Sequence[str], rows: Rows) -> Table:
        made = Table(box=None, pad_edge=False, header_style="bold")
        for number, column in enumerate(columns):
            made.add_column(column, justify="right" if number else "left")
        for row in rows:
            made.add_row(*(Text(cell) for cell in row))
        return made

    return Group(
        Text(f"{_heading(now)}    (Ctrl-C ends)"),
        Text(),
        shown(WORKER_COLUMNS, worker_rows(before, now)),
        *(Text(line, style="red") for line in _refusals(now)),
        Text(),
        shown(FUNCTION_COLUMNS, function_rows(now)),
    )


def _mib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 10 * 1024 else f"{mib:.0f} MiB"


def _times(part: float, whole: float) -> str:
    return f"{part / whole:.2f} ×" if whole else "-"


def _share(part: float, whole: float) -> str:
    return f"({part / whole:.0%})" if whole else ""
