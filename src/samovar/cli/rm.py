"""`samovar rm`: deletes a function with its versions and aliases."""

from __future__ import annotations

from samovar.cli.endpoint import Endpoint


def rm(endpoint: Endpoint, name: str) -> None:
    """Delete it. Raises `CommandError` where there is none of that name."""
    client = endpoint.lambda_client()
    with endpoint.answers():
        client.delete_function(FunctionName=name)
