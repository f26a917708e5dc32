"""Layers for tests: files in, layer versions on the server out."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.functions import package

Files = Mapping[str, str | bytes]


class LayerFactory:
    """Publishes layers under names of their own, and deletes them at the end."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._published: list[dict[str, Any]] = []

    def __call__(self, files: Files, *, name: str | None = None, **settings: Any) -> dict[str, Any]:
        """Publish a version; return what PublishLayerVersion answered."""
        request = {
            "LayerName": name or f"{self._prefix}-{next(self._numbers)}",
            "Content": {"ZipFile": package(files)},
        } | settings
        published: dict[str, Any] = self._client.publish_layer_version(**request)
        self._published.append(published)
        return published

    def arn(self, files: Files, **settings: Any) -> str:
        """Publish a version; return its ARN."""
        arn: str = self(files, **settings)["LayerVersionArn"]
        return arn

    def close(self) -> None:
        """Delete what was published."""
        for version in self._published:
            self._client.delete_layer_version(
                LayerName=version["LayerArn"], VersionNumber=version["Version"]
            )


@contextlib.contextmanager
def refused(code: str, message: str = "") -> Iterator[None]:
    """The block ends in AWS's error of this name; `message` is part of its text."""
    with pytest.raises(ClientError) as raised:
        yield
    error = raised.value.response["Error"]
    assert error["Code"] == code
    assert message in error["Message"]
