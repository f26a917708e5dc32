"""What tests through real clients share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.layers import LayerFactory
from tests.server import Server


@pytest.fixture
def publish(lambda_client: Any, request: pytest.FixtureRequest) -> Iterator[LayerFactory]:
    """Publishes layers from files; they are deleted after the test."""
    prefix = re.sub(r"[^A-Za-z0-9-]+", "-", request.node.name)[:60].strip("-")
    factory = LayerFactory(lambda_client, prefix)
    yield factory
    factory.close()


@pytest.fixture
def last_words_are_heard(server: Server) -> None:
    """Skip where instances share a loopback and a uid: there it is looked up which process holds
    the other end of a connection, and of one that has ended already nobody can tell."""
    if not {"network", "user"} & set(server.health()["isolation"]["layers"]):
        pytest.skip("on a loopback that is shared, who speaks and ends at once is a stranger")
