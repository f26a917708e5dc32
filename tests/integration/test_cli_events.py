"""`samovar events`, against a real server whose clock the tests advance."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.functions import FunctionFactory
from tests.integration.test_cli import Run, command_of
from tests.server import Server

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202etxt.exe"
FAILS = f"""
def handler(event, context):
    raise type({HOSTILE!r}, (Exception,), {{}})({HOSTILE!r})
"""
RETRIES_S = (60, 120)


@pytest.fixture
def samovar(controlled: Server) -> Run:
    return command_of(controlled)


@pytest.fixture
def make(controlled: Server, controlled_client: Any, request: Any) -> Iterator[FunctionFactory]:
    own = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[-40:]
    yield (
        factory := FunctionFactory(controlled_client, own.strip("-"), controlled.newest_runtime())
    )
    controlled.ask("test/faults", method="DELETE")
    for state in ("queued", "retrying", "running", "dead"):
        controlled.ask("events/purge", {"all": True, "state": state})
    factory.close()


@pytest.fixture
def failing(make: FunctionFactory) -> str:
    """A function that fails, and tries to write to the terminal when it does."""
    return make(FAILS)


def accept(controlled_client: Any, name: str, payload: Any = None) -> str:
    answer = controlled_client.invoke(
        FunctionName=name, InvocationType="Event", Payload=json.dumps(payload or {})
    )
    return answer["ResponseMetadata"]["RequestId"]


def die(server: Server, controlled_client: Any, name: str, payload: Any = None) -> str:
    """An event of a function that fails, dead."""
    id_ = accept(controlled_client, name, payload)
    for retry_s in RETRIES_S:
        server.advance(retry_s)
    return id_


def test_an_event_that_fails_is_tried_three_times_and_then_kept_as_dead(
    controlled: Server, controlled_client: Any, failing: str, samovar: Run
):
    id_ = die(controlled, controlled_client, failing, {"tea": "green"})
    told = json.loads(samovar("events", "show", id_, "--json").stdout)
    assert (told["state"], told["attempts"], told["reason"]) == ("dead", 3, "RetriesExhausted")
    assert (json.loads(told["payload"]), told["bytes"]) == ({"tea": "green"}, 16)
    arn = controlled_client.get_function_configuration(FunctionName=failing)["FunctionArn"]
    assert (told["queue"], told["target"]) == (arn, arn)


def test_ls_counts_the_events_of_each_function_and_lists_them(
    controlled: Server, controlled_client: Any, failing: str, samovar: Run
):
    dead = die(controlled, controlled_client, failing)
    waits = accept(controlled_client, failing)
    controlled.settle()
    assert controlled.events(failing) == {"retrying": 1, "dead": 1}
    counts, row, blank, heading, first, second = samovar(
        "events", "ls", failing
    ).stdout.splitlines()
    assert counts.split() == ["FUNCTION", "QUEUED", "RUNNING", "RETRYING", "DEAD", "OLDEST", "NEXT"]
    assert row.split()[:5] == [failing, "0", "0", "1", "1"]
    assert (blank, heading.split()[:4]) == ("", ["ID", "FUNCTION", "STATE", "ATTEMPTS"])
    assert first.split()[:4] == [dead, failing, "dead", "3"]
    assert second.split()[:4] == [waits, failing, "retrying", "1"]
    assert "RetriesExhausted" in first


def test_a_long_listing_goes_on_where_it_ended(
    controlled: Server, controlled_client: Any, failing: str, samovar: Run
):
    ids = [accept(controlled_client, failing) for _ in range(3)]
    controlled.settle()
    assert controlled.events(failing) == {"retrying": 3}
    listed = []
    more: list[str] = []
    for _ in ids:
        told = json.loads(samovar("events", "ls", failing, "-n", "1", "--json", *more).stdout)
        listed += [event["id"] for event in told["events"]]
        more = ["--after", told["next_marker"] or ""]
    assert (listed, more[1]) == (ids, "")
    assert "there are more: --after " in samovar("events", "ls", failing, "-n", "1").stdout


def test_nothing_that_a_function_says_reaches_the_terminal_as_a_command_to_it(
    controlled: Server, controlled_client: Any, failing: str, samovar: Run
):
    id_ = die(controlled, controlled_client, failing, {"text": HOSTILE})
    for arguments in (
        ("ls",),
        ("ls", "--json"),
        ("show", id_),
        ("show", id_, "--json"),
        ("ls", "arn:" + HOSTILE),
        ("show", HOSTILE),
        ("purge", "--function", HOSTILE),
    ):
        done = samovar("events", *arguments)
        said = (done.stdout + done.stderr).replace("\n", "")
        assert said and said.isprintable(), arguments


def test_a_dead_event_is_replayed_as_if_it_were_new(
    controlled: Server, controlled_client: Any, failing: str, samovar: Run
):
    id_ = die(controlled, controlled_client, failing)
    assert samovar("events", "replay", id_).stdout == "1 replayed\n"
    controlled.settle()
    assert controlled.events(failing) == {"retrying": 1}
    told = json.loads(samovar("events", "show", id_, "--json").stdout)
    assert (told["attempts"], told["reason"], told["died_at"]) == (1, None, None)


def test_all_dead_events_of_a_function_are_replayed_once_it_is_mended(
    controlled: Server, controlled_client: Any, make: FunctionFactory, failing: str, samovar: Run
):
    other = make(FAILS)
    for name in (failing, failing, other):
        die(controlled, controlled_client, name)
    controlled_client.update_function_configuration(FunctionName=failing, Handler="app.mended")
    controlled_client.get_waiter("function_updated_v2").wait(FunctionName=failing)
    assert samovar("events", "replay", "--function", failing, "--json").stdout == (
        '{\n  "replayed": 2\n}\n'
    )
    controlled.settle()
    assert controlled.events(failing) == {"retrying": 2}
    assert controlled.events(other) == {"dead": 1}


def test_dead_events_are_purged_and_those_that_are_not_stay(
    controlled: Server, controlled_client: Any, failing: str, samovar: Run
):
    die(controlled, controlled_client, failing)
    accept(controlled_client, failing)
    controlled.settle()
    assert controlled.events(failing) == {"retrying": 1, "dead": 1}
    assert samovar("events", "purge", "--function", failing, "--yes").stdout == "1 purged\n"
    assert controlled.events(failing) == {"retrying": 1}
    done = samovar("events", "purge", "--all", "--state", "retrying", "--yes")
    assert done.stdout == "1 purged\n"
    assert controlled.events(failing) == {}


def test_purging_asks_first_and_says_how_many(
    controlled: Server, controlled_client: Any, failing: str, samovar: Run
):
    die(controlled, controlled_client, failing)
    done = samovar("events", "purge", "--function", failing)
    assert done.returncode == 2
    assert f"not asked whether to delete 1 dead event of {failing}; say --yes" in done.stderr
    assert controlled.events(failing) == {"dead": 1}


@pytest.mark.parametrize(
    ("arguments", "says", "status"),
    [
        (("replay",), "which events is not clear", 2),
        (("purge", "x", "--all", "--yes"), "which events is not clear", 2),
        (("replay", "x"), "no dead event has such an ID", 1),
        (("purge", "x", "--yes"), "no event has such an ID", 1),
        (("show", "x"), "There is no event x", 1),
        (("ls", "no/function"), "functionName", 1),
    ],
)
def test_what_cannot_be_done_is_one_line(samovar: Run, arguments: Any, says: str, status: int):
    done = samovar("events", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_a_payload_goes_on_through_a_pipe_as_it_is(
    controlled: Server, controlled_client: Any, failing: str, samovar: Run
):
    id_ = die(controlled, controlled_client, failing, {"text": HOSTILE})
    payload = samovar("events", "show", id_, "--payload").stdout
    assert json.loads(payload) == {"text": HOSTILE}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("events?max_items=0", None),
        ("events?max_items=1e9", None),
        ("events?max_items=000000001999999", None),
        ("events?state=odd", None),
        ("events?marker=x", None),
        ("queues?marker=x", None),
        ("events/replay", {}),
        ("events/replay", {"all": True, "function": "f"}),
        ("events/replay", {"all": True, "state": "queued"}),
        ("events/purge", {"ids": ["x"] * 1001}),
        ("events/purge", {"ids": "x"}),
        ("events/purge", {"all": True, "more": 1}),
        ("events/purge", {"ids": ["\0"]}),
        ("events/purge", {"function": "arn:\ud800"}),
        ("events/purge", {"all": True, "as_of": "now"}),
        ("events?region=%00", None),
        ("events?function=arn:%00", None),
        ("events/%00", None),
        ("events/purge", {"function": "no/function"}),
    ],
)
def test_nonsense_is_refused(controlled: Server, path: str, body: Any):
    with pytest.raises(urllib.error.HTTPError) as refused:
        controlled.ask(path, body)
    with refused.value as answer:
        assert answer.code == 400


@pytest.mark.parametrize(("path", "method"), [("events", "DELETE"), ("queues/x", "GET")])
def test_what_is_not_there_is_not_there(controlled: Server, path: str, method: str):
    with pytest.raises(urllib.error.HTTPError) as refused:
        controlled.ask(path, method=method)
    with refused.value as answer:
        assert answer.code == 404
