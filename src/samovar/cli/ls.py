"""`samovar ls`: the functions, one a line."""

from __future__ import annotations

from samovar.cli.endpoint import Endpoint
from samovar.cli.table import table

COLUMNS = ("NAME", "RUNTIME", "HANDLER", "MEMORY", "TIMEOUT", "CODE", "MODIFIED")
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
                )
                for function in page["Functions"]
            ]
    return table(rows)
