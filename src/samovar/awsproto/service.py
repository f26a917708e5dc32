"""A service, read from its botocore model file: its operations, routes and errors.

Only botocore's data is used: importing its loader would cost ten times what reading the file does.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from samovar.awsproto.operation import Match, Message, Operation
from samovar.awsproto.router import Query, Router
from samovar.awsproto.shapes import Shapes

GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True, eq=False)
class ErrorShape:
    """A modelled error, as it goes over HTTP."""

    name: str
    status: int
    message: Message


class ServiceModel:
    """One service that speaks REST-JSON. Immutable once made."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        metadata = definition["metadata"]
        if metadata["protocol"] != "rest-json":
            raise ValueError(f"not a REST-JSON service: {metadata['serviceFullName']}")
        shapes = Shapes(definition["shapes"])
        self.name: str = metadata["serviceId"]
        self.api_version: str = metadata["apiVersion"]
        self.operations: Mapping[str, Operation] = {
            name: Operation.of(operation, shapes)
            for name, operation in definition["operations"].items()
        }
        self.errors: Mapping[str, ErrorShape] = {
            name: _error(name, shape, shapes)
            for name, shape in definition["shapes"].items()
            if shape.get("exception")
        }
        self._router = Router(tuple(self.operations.values()))

    @classmethod
    def load(cls, service: str, api_version: str | None = None) -> ServiceModel:
        """Read a service's model, by default its newest version; a second call costs nothing.

        Raises FileNotFoundError where botocore has no such service or version, and ValueError
        where it does not speak REST-JSON.
        """
        return _load(service, api_version)

    def route(self, method: str, path: str, query: Query) -> Match | None:
        """Return the operation that a request means, or None: see `Router.route`."""
        return self._router.route(method, path, query)


@cache
def _load(service: str, api_version: str | None) -> ServiceModel:
    folder = _data_dir() / service
    if api_version is None:
        versions = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        if not versions:
            raise FileNotFoundError(f"no versions of a service model in {folder}")
        api_version = versions[-1]
    plain = folder / api_version / "service-2.json"
    if plain.exists():
        text = plain.read_bytes()
    else:
        text = zlib.decompress(plain.with_name("service-2.json.gz").read_bytes(), GZIP)
    return ServiceModel(msgspec.json.decode(text))


def _data_dir() -> Path:
    spec = find_spec("botocore")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("botocore is not installed")
    return Path(spec.submodule_search_locations[0]) / "data"


def _error(name: str, definition: Mapping[str, Any], shapes: Shapes) -> ErrorShape:
    default = 500 if definition.get("fault") else 400
    status = definition.get("error", {}).get("httpStatusCode", default)
    return ErrorShape(name, status, Message.of(shapes.get(name)))
