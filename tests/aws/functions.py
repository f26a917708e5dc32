"""Functions for tests: source code in, a function on the server out."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import textwrap
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
from botocore.config import Config

ROLE = "arn:aws:iam::000000000000:role/test"
HANDLER = "app.handler"


def package(files: str | Mapping[str, str | bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip: of one source, as app.py, or of several files by name."""
    if isinstance(files, str):
        files = {"app.py": textwrap.dedent(files)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)  # at a fixed time
    return buffer.getvalue()


def lambda_client_of(
    endpoint: str,
    *,
    key_id: str = "test",
    region: str = "us-east-1",
    service: str = "lambda",
    **config: Any,
) -> Any:
    """An unmodified boto3 client; retries are off so that tests see first answers. A `key_id` of
    twelve digits is an account."""
    options = {"retries": {"total_max_attempts": 1}, "read_timeout": 60} | config
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=key_id,
        aws_secret_access_key="test",
        config=Config(**options),
    )


@contextlib.contextmanager
def clients_of(endpoint: str) -> Iterator[Callable[..., Any]]:
    """A maker of clients, also from threads; all are closed at the end."""
    clients = []

    def make(**config: Any) -> Any:
        clients.append(lambda_client_of(endpoint, **config))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def prefix_of(test: str, longest: int = 50) -> str:
    """What names of functions and layers of a test begin with."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", test)[:longest].strip("-")


class FunctionFactory:
    """Creates functions under names of their own, and deletes them at the end."""

    def __init__(self, client: Any, prefix: str, runtime: str) -> None:
        self._client = client
        self._prefix = prefix
        self._runtime = runtime
        self._numbers = itertools.count(1)
        self._names: list[str] = []

    def __call__(self, source: str | Mapping[str, str | bytes], **config: Any) -> str:
        """Create a function, wait till it is active, return its name.

        `config` goes to CreateFunction as it is: `Timeout=1`, `Environment={…}`, ….
        """
        request = {
            "FunctionName": f"{self._prefix}-{next(self._numbers)}",
            "Runtime": self._runtime,
            "Role": ROLE,
            "Handler": HANDLER,
            "Code": {"ZipFile": package(source)},
        } | config
        self._client.create_function(**request)
        name: str = request["FunctionName"]
        self._names.append(name)
        self._client.get_waiter("function_active_v2").wait(
            FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
        )
        return name

    def close(self) -> None:
        """Delete what was created and is still there."""
        for name in self._names:
            try:
                self._client.delete_function(FunctionName=name)
            except self._client.exceptions.ResourceNotFoundException:
                continue
