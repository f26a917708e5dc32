"""Provisioned concurrency, for tests of several kinds."""

from __future__ import annotations

from typing import Any

from botocore.waiter import WaiterModel, create_waiter_with_client

_MODEL = WaiterModel(
    {
        "version": 2,
        "waiters": {
            "Provisioned": {
                "operation": "GetProvisionedConcurrencyConfig",
                "delay": 0.05,
                "maxAttempts": 1200,
                "acceptors": [
                    {"matcher": "path", "argument": "Status", "expected": word, "state": state}
                    for word, state in (("READY", "success"), ("FAILED", "failure"))
                ],
            }
        },
    }
)


def await_ready(client: Any, name: str, qualifier: str) -> dict[str, Any]:
    """Wait until it is ready; return what is told of it."""
    create_waiter_with_client("Provisioned", _MODEL, client).wait(
        FunctionName=name, Qualifier=qualifier
    )
    found: dict[str, Any] = client.get_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier
    )
    return found


def provision(client: Any, name: str, qualifier: str, count: int) -> dict[str, Any]:
    """Ask for so much, and wait until it is ready."""
    client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=count
    )
    return await_ready(client, name, qualifier)
