"""`samovar ls`: the functions, one a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samovar.cli.endpoint import Endpoint
from samovar.cli.instance_rules import provisioned_of
from samovar.cli.table import table

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

COLUMNS = ("NAME", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "CODE", "MODIFIED", "INSTANCES")
"""Not the state: as on AWS, a listing does not have it."""


def ls(endpoint: Endpoint) -> str:
    """Return the table; only its heading where there are none."""
    client = endpoint.lambda_client()
    rows = [COLUMNS]
    with endpoint.answers():
        for page in client.get_paginator("list_functions").paginate():
            rows += [
                (
                    function["FunctionName"],
                    function.get("Runtime", "-"),
                    function.get("Handler", "-"),
                    f"{function.get('MemorySize', 0)} MB",
                    f"{function.get('Timeout', 0)} s",
                    f"{function.get('CodeSize', 0):,} B",
                    function.get("LastModified", "-")[:19].replace("T", " "),
                    _instances(client, function),
                )
                for function in page["Functions"]
            ]
    return table(rows)


def _instances(client: LambdaClient, function: Any) -> str:
    """What is out of the ordinary about a function's instances."""
    name = function["FunctionName"]
    provider = function.get("CapacityProviderConfig", {})
    shared = provider.get("LambdaManagedInstancesCapacityProviderConfig", {})
    try:
        reserved = client.get_function_concurrency(FunctionName=name)
        provisioned = provisioned_of(client, name)
    except client.exceptions.ResourceNotFoundException:  # it was deleted a moment ago
        return "-"
    known = {
        "reserved": reserved.get("ReservedConcurrentExecutions"),
        "provisioned": provisioned or None,
        "requests each": shared.get("PerExecutionEnvironmentMaxConcurrency"),
    }
    said = [f"{count} {word}" for word, count in known.items() if count is not None]
    if function.get("SnapStart", {}).get("ApplyOn") == "PublishedVersions":
        said.append("snapstart")
    return ", ".join(said) or "-"
