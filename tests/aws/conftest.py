"""What tests through real clients share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.functions import FunctionFactory, clients_of, prefix_of
from tests.aws.layers import LayerFactory
from tests.aws.moto_server import Moto, running_moto
from tests.aws.sources import Mappings
from tests.server import Server, running


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """Queues, topics, buses, buckets and streams."""
    with running_moto() as started:
        yield started


@pytest.fixture(scope="session")
def moto_server(
    needs_wiring: None, moto: Moto, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server that has moto's as its endpoint, and whose clock can be advanced."""
    data_dir = tmp_path_factory.mktemp("moto-server") / "data"
    flags = ("--no-examples", "--test-controls")
    with running(data_dir, *flags, SAMOVAR_AWS_ENDPOINT=moto.endpoint) as started:
        yield started


@pytest.fixture(scope="session")
def moto_lambda(moto_server: Server) -> Iterator[Any]:
    """A boto3 lambda client of that server."""
    with clients_of(moto_server.endpoint) as make:
        yield make()


@pytest.fixture
def make_moto_function(
    moto_lambda: Any, moto_server: Server, request: pytest.FixtureRequest
) -> Iterator[FunctionFactory]:
    """Creates functions on that server; they are deleted after the test."""
    prefix = prefix_of(request.node.name)
    factory = FunctionFactory(moto_lambda, prefix, moto_server.newest_runtime())
    yield factory
    factory.close()


@pytest.fixture
def mappings(moto_lambda: Any, moto_server: Server) -> Iterator[Mappings]:
    """Makes event source mappings on that server; they are deleted after the test."""
    made = Mappings(moto_lambda, moto_server)
    yield made
    made.close()


@pytest.fixture
def publish(lambda_client: Any, request: pytest.FixtureRequest) -> Iterator[LayerFactory]:
    """Publishes layers from files; they are deleted after the test."""
    prefix = prefix_of(request.node.name, 60)
    factory = LayerFactory(lambda_client, prefix)
    yield factory
    factory.close()


@pytest.fixture
def last_words_are_heard(server: Server) -> None:
    """Skip where instances share a loopback and a uid: there it is looked up which process holds
    the other end of a connection, and of one that has ended already nobody can tell."""
    if not {"network", "user"} & set(server.health()["isolation"]["layers"]):
        pytest.skip("on a loopback that is shared, who speaks and ends at once is a stranger")
