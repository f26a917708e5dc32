"""Values of the model for the stores' contracts."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from samovar.model.event import Event
from samovar.model.function import LATEST, Alias, CodeRef, FunctionId, FunctionVersion
from samovar.ports import FunctionStore

ACCOUNT = "000000000000"
REGION = "us-east-1"


def function_id(name: str = "f", account: str = ACCOUNT, region: str = REGION) -> FunctionId:
    return FunctionId(account, region, name)


def a_version(function: FunctionId | None = None, **changes: Any) -> FunctionVersion:
    settings: dict[str, Any] = {
        "id": function or function_id(),
        "version": LATEST,
        "revision_id": "r1",
        "runtime": "python3.11",
        "handler": "app.handler",
        "role": f"arn:aws:iam::{ACCOUNT}:role/r",
        "code": CodeRef("ab" * 32, 1234),
        "last_modified": dt.datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=dt.UTC),
    }
    return FunctionVersion(**{**settings, **changes})


def an_alias(name: str = "live", version: str = "1", **changes: Any) -> Alias:
    settings: dict[str, Any] = {
        "id": function_id(),
        "name": name,
        "version": version,
        "revision_id": "r1",
    }
    return Alias(**{**settings, **changes})


def numbered(
    latest: FunctionVersion, newest: FunctionVersion | None, number: int
) -> FunctionVersion:
    return dataclasses.replace(latest, version=str(number), revision_id=f"v{number}")


async def publish(store: FunctionStore, count: int = 1, function: FunctionId | None = None) -> None:
    for _ in range(count):
        await store.publish(function or function_id(), numbered)


def an_event(**changes: Any) -> Event:
    settings: dict[str, Any] = {
        "id": "e",
        "queue": function_id("f").arn,
        "target": function_id("f").arn,
        "payload": b"{}",
        "accepted_at": 1_000_000.0,
        "due_at": 1_000_000.0,
    }
    return Event(**{**settings, **changes})
