"""What all tests share: one running server a test process, and functions on it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.functions import FunctionFactory, clients_of, prefix_of
from tests.server import LIVE, Server, running
from tests.traces import mounts_naming, traces_of


@pytest.fixture(scope="session", autouse=True)
def no_server_outlives_the_tests() -> Iterator[None]:
    """A test that fails between a server's start and its end must not leave it running."""
    yield
    for left in list(LIVE):
        left.kill()


@pytest.fixture(scope="session")
def needs_wiring() -> None:
    """Skip while there is no server to start."""
    if importlib.util.find_spec("samovar.wiring") is None:
        pytest.skip("there is no server yet: samovar.wiring is missing")


@pytest.fixture(scope="session")
def server(needs_wiring: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`samovar up` without examples, with what this machine has of isolation.

    At the end it is stopped as a user would, and must leave nothing: no process, cgroup, network
    link or mount. One of these left behind by a test fails the session.
    """
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running(data_dir, "--no-examples") as started:
        yield started
        traces = traces_of(started.pid)
    assert traces.left() == {}
    assert mounts_naming(str(data_dir)) == []


@pytest.fixture(scope="session")
def controlled(needs_wiring: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose clock can be advanced, and whose invocations can be made to fail."""
    data_dir = tmp_path_factory.mktemp("controlled") / "data"
    with running(data_dir, "--no-examples", "--test-controls") as started:
        yield started


@pytest.fixture(scope="session")
def controlled_client(controlled: Server) -> Iterator[Any]:
    """A boto3 lambda client of that server."""
    with clients_of(controlled.endpoint) as make:
        yield make()


@pytest.fixture(scope="session")
def endpoint(server: Server) -> str:
    """Where the server listens."""
    return server.endpoint


@pytest.fixture(scope="session")
def client_of(server: Server) -> Iterator[Callable[..., Any]]:
    """Makes boto3 lambda clients for the server: `client_of(read_timeout=5)`."""
    with clients_of(server.endpoint) as make:
        yield make


@pytest.fixture(scope="session")
def lambda_client(client_of: Callable[..., Any]) -> Any:
    """An unmodified boto3 lambda client."""
    return client_of()


@pytest.fixture(scope="session")
def runtime(server: Server) -> str:
    """A Python runtime that the server has."""
    return server.newest_runtime()


@pytest.fixture
def make_function(
    lambda_client: Any, runtime: str, request: pytest.FixtureRequest
) -> Iterator[FunctionFactory]:
    """Creates functions from source; they are deleted after the test."""
    prefix = prefix_of(request.node.name)
    factory = FunctionFactory(lambda_client, prefix, runtime)
    yield factory
    factory.close()
