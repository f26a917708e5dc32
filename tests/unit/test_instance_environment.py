"""What an instance finds in its environment."""

from __future__ import annotations

from typing import Any

from samovar.model.function import CapacityProvider
from samovar.model.instance import InstanceId
from samovar.worker.environment import instance_environment
from tests.contract.samples import a_version


def environment(**changes: Any) -> dict[str, str]:
    return instance_environment(
        a_version(**changes), InstanceId("i-1"), "/var/task", None, "2026/11/23"
    )


def test_an_instance_of_many_requests_is_told_how_many():
    provider = CapacityProvider("arn:provider", max_concurrency=32)
    assert environment(capacity_provider=provider)["AWS_LAMBDA_MAX_CONCURRENCY"] == "32"


def test_an_instance_of_one_request_is_told_nothing_of_it():
    assert "AWS_LAMBDA_MAX_CONCURRENCY" not in environment()
