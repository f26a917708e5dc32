"""`/_samovar/top` and `/_samovar/metrics`: one look for however many ask."""

from __future__ import annotations

import asyncio
import json

import pytest

from samovar.cli.top import text_of
from samovar.frontend.request import Request
from samovar.frontend.top import TopRoutes
from samovar.model.errors import ErrorCode, PlatformError
from samovar.ports import Pressure
from tests.contract.samples import function_id
from tests.unit.census_samples import (
    COUNTS,
    a_function_census,
    a_manager_census,
    a_status,
    a_worker_census,
)
from tests.unit.scripted_worker import settled


class Seen:
    """A manager and a worker to look at."""

    def __init__(self, manager=None, worker=None):
        self.manager = manager or a_manager_census(
            a_function_census(), counts={function_id("f"): COUNTS}
        )
        self.worker = worker or a_worker_census()
        self.looks = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.now_s = 100.0

    def routes(self):
        return TopRoutes(_Managing(self), [_Working(self)], lambda: self.now_s)

    async def document(self):
        answer = await self.routes().top(a_request(), "")
        return json.loads(answer.body)


class _Managing:
    def __init__(self, seen):
        self.seen = seen

    def census(self):
        return self.seen.manager


class _Working:
    def __init__(self, seen):
        self.seen = seen

    async def census(self):
        self.seen.looks += 1
        await self.seen.may_answer.wait()
        return self.seen.worker


def a_request(method="GET", path="/_samovar/top"):
    scope = {"method": method, "raw_path": path.encode(), "query_string": b"", "headers": []}
    return Request(scope, None)


async def test_a_worker_is_told_with_what_is_promised_beside_what_is_real():
    (worker,) = (await Seen().document())["workers"]
    assert worker["memory"] == {
        "promised_mib": 3072,
        "may_promise_mib": 4096,
        "used_mib": 512,
        "usable_mib": 2048,
        "reclaim_mib": 0,
        "oversubscription": 2.0,
        "stalled": 0.5,
    }
    assert worker["processors"]["may_promise_vcpus"] is None
    assert worker["instances"] == {"starting": 1, "idle": 2, "busy": 3, "stopping": 0}
    assert (worker["admits"], worker["why_not"]) == (True, "")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (a_status(pressure=Pressure(admits=False, reason="too much is used")), "too much is used"),
        (a_status(draining=True), "draining"),
    ],
    ids=["pressure", "draining"],
)
async def test_a_worker_that_admits_nothing_says_why(status, why):
    (worker,) = (await Seen(worker=a_worker_census(status)).document())["workers"]
    assert (worker["admits"], worker["why_not"]) == (False, why)


async def test_a_function_is_told_with_its_requests_and_what_has_happened_to_it():
    (function,) = (await Seen().document())["functions"]
    assert (function["name"], function["running"], function["waiting"]) == ("f", 3, 7)
    assert function["memory"] == {"declared_mib": 640, "used_mib": 300}
    assert function["counts"]["cold_starts"] == {"first": 1, "scale-out": 4}


async def test_who_asks_while_one_looks_shares_the_next_look():
    seen = Seen()
    routes = seen.routes()
    seen.may_answer.clear()
    first = asyncio.create_task(routes.top(a_request(), ""))
    await settled()
    seen.now_s += 1
    others = [asyncio.create_task(routes.metrics(a_request(), "")) for _ in range(50)]
    await settled()
    seen.now_s += 1
    seen.may_answer.set()
    await asyncio.gather(first, *others)
    assert seen.looks == 2


@pytest.mark.parametrize(("method", "rest"), [("POST", ""), ("GET", "x")])
async def test_there_is_nothing_to_write_and_nothing_below(method, rest):
    routes = Seen().routes()
    for route in routes.routes().values():
        with pytest.raises(PlatformError) as refused:
            await route(a_request(method), rest)
        assert refused.value.code is ErrorCode.UNKNOWN_OPERATION


# ---------------------------------------------------------------- the command


async def two_looks(seen, busier_s=1.0):
    before = await seen.document()
    now = json.loads(json.dumps(before))
    now["monotonic_s"] += 2.0
    now["workers"][0]["processors"]["busy_s"] += busier_s
    return before, now


async def test_the_command_shows_promises_against_what_is_real():
    assert text_of(*await two_looks(Seen())).splitlines() == [
        "10 of 1000 requests at once",
        "",
        "worker w1 in rack-1: admits instances",
        "  memory      3072 MiB promised of 4096 MiB (1.50 × what there is), "
        "512 MiB used of 2048 MiB (25%), 50% stalled",
        "  processors  1.5 vCPUs promised, 2 processors, 0.5 at work, 25% stalled",
        "  instances   3 busy, 2 idle, 1 starting, 0 stopping; 4 blanks, 0 templates",
        "",
        "FUNCTION  BUSY  IDLE  START  PROV  RUN  WAIT  DECLARED  USED           COLD  FAIL  429  "
        "EVICT",
        "f         3     2     1      1     3    7     640 MiB   300 MiB (47%)  5     2     5    6",
    ]


async def test_the_command_shows_what_vcpus_may_be_promised_where_they_are_counted():
    worker = a_worker_census(a_status(vcpus=8.0, free_vcpus=6.5))
    text = text_of(*await two_looks(Seen(worker=worker)))
    assert "1.5 vCPUs promised of 8.0, 2 processors" in text


async def test_the_command_says_why_a_worker_admits_nothing_and_moves_no_cursor():
    pressure = Pressure(admits=False, reason="too much \x1b[2J is used")
    worker = a_worker_census(a_status(pressure=pressure))
    text = text_of(*await two_looks(Seen(worker=worker)))
    assert "worker w1 in rack-1: admits nothing: too much \\x1b[2J is used" in text


async def test_the_command_tells_how_many_functions_it_does_not_show():
    seen = Seen()
    before, now = await two_looks(seen)
    assert "more" not in text_of(before, now)
    text = text_of(before, now | {"functions_left_out": 3, "workers": now["workers"] * 22})
    assert "3 functions more" in text
    assert "and 2 workers more" in text
