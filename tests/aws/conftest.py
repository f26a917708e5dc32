"""What tests through real clients share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.layers import LayerFactory


@pytest.fixture
def publish(lambda_client: Any, request: pytest.FixtureRequest) -> Iterator[LayerFactory]:
    """Publishes layers from files; they are deleted after the test."""
    prefix = re.sub(r"[^A-Za-z0-9-]+", "-", request.node.name)[:60].strip("-")
    factory = LayerFactory(lambda_client, prefix)
    yield factory
    factory.close()
