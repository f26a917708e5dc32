"""`samovar up --test-controls`: what tests of users may do to a server."""

from __future__ import annotations

import datetime as dt
import urllib.error
from collections.abc import Iterator

import pytest

from tests.server import Server, running


@pytest.fixture(scope="module")
def controlled(needs_wiring: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with test controls."""
    data_dir = tmp_path_factory.mktemp("controlled") / "data"
    with running(data_dir, "--no-examples", "--test-controls") as started:
        yield started


def now(server: Server) -> dt.datetime:
    return dt.datetime.fromisoformat(server.ask("test/clock")["now"])


def test_the_clock_goes_as_far_ahead_as_it_was_advanced(controlled: Server):
    before, ahead_s = now(controlled), controlled.ask("test/clock")["ahead_s"]
    controlled.advance(3600)
    assert now(controlled) - before >= dt.timedelta(hours=1)
    assert controlled.ask("test/clock")["ahead_s"] == ahead_s + 3600


def test_a_server_with_test_controls_says_so_in_its_banner_and_health(controlled: Server):
    assert controlled.health()["test_controls"] is True
    assert any("TEST CONTROLS ARE ON" in line for line in controlled.printed)


def test_other_servers_have_none(server: Server):
    assert server.health()["test_controls"] is False
    assert not any("TEST CONTROLS" in line for line in server.printed)
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.advance(1)
    assert refused.value.code == 404
    refused.value.close()
