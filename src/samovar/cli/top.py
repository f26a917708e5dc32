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

MAX_WORKERS = 20
"""So many are shown."""

FUNCTION_COLUMNS = (
    "FUNCTION",
    "BUSY",
    "IDLE",
    "START",
    "PROV",
    "RUN",
    "WAIT",
    "DECLARED",
    "USED",
    "COLD",
    "FAIL",
    "429",
    "EVICT",
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
    return "\n".join([*lines_of(before, now), table([FUNCTION_COLUMNS, *function_rows(now)])])


def lines_of(before: Document, now: Document) -> list[str]:
    """All but the table of functions: four lines a worker."""
    use = now["concurrency"]
    busy_before = {worker["id"]: worker["processors"]["busy_s"] for worker in before["workers"]}
    passed_s = now["monotonic_s"] - before["monotonic_s"]
    lines = [f"{use['in_use']} of {use['limit']} requests at once", ""]
    for worker in now["workers"][:MAX_WORKERS]:
        at_work = None
        if passed_s > 0 and worker["id"] in busy_before:
            at_work = (worker["processors"]["busy_s"] - busy_before[worker["id"]]) / passed_s
        lines += [*_worker(worker, at_work), ""]
    if len(now["workers"]) > MAX_WORKERS:
        lines += [f"and {len(now['workers']) - MAX_WORKERS} workers more", ""]
    if now["functions_left_out"]:
        lines += [f"{now['functions_left_out']} functions more than are listed", ""]
    return lines


def _worker(worker: Document, at_work: float | None) -> list[str]:
    instances = worker["instances"]
    zone = f" in {worker['zone']}" if worker["zone"] else ""
    admits = "admits instances" if worker["admits"] else f"admits nothing: {worker['why_not']}"
    counts = ", ".join(
        f"{instances.get(state, 0)} {state}" for state in ("busy", "idle", "starting", "stopping")
    )
    return [
        printable(f"worker {worker['id']}{zone}: {admits}", one_line=True),
        f"  memory      {_memory(worker['memory'])}",
        f"  processors  {_processors(worker['processors'], at_work)}",
        f"  instances   {counts}; {worker['blanks']} blanks, {worker['templates']} templates",
    ]


def _memory(memory: Document) -> str:
    promised, used, usable = (memory[f"{part}_mib"] for part in ("promised", "used", "usable"))
    ratio = promised / usable if usable else 0.0
    return (
        f"{_mib(promised)} promised of {_mib(memory['may_promise_mib'])} "
        f"({ratio:.2f} × what there is), {_mib(used)} used of {_mib(usable)}"
        f"{_share(used, usable)}, {memory['stalled']:.0%} stalled"
    )


def _processors(processors: Document, at_work: float | None) -> str:
    bound = processors["may_promise_vcpus"]
    of = "" if bound is None else f" of {bound:.1f}"
    work = "" if at_work is None else f", {at_work:.1f} at work"
    return (
        f"{processors['promised_vcpus']:.1f} vCPUs promised{of}, "
        f"{processors['count']:g} processors{work}, {processors['stalled']:.0%} stalled"
    )


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
                f"{_mib(memory['used_mib'])}{_share(memory['used_mib'], memory['declared_mib'])}",
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


def _screen(before: Document, now: Document) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    functions = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(FUNCTION_COLUMNS):
        functions.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in function_rows(now):
        functions.add_row(*map(Text, row))
    lines = lines_of(before, now)
    shown = [Text(line, style="red" if "admits nothing" in line else "") for line in lines]
    return Group(*shown, functions, Text("\n(Ctrl-C ends)", style="dim"))


def _mib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 10 * 1024 else f"{mib:.0f} MiB"


def _share(part: float, whole: float) -> str:
    return f" ({part / whole:.0%})" if whole else ""
