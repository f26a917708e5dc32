"""Rows of the tables ⇄ values of the model."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from samovar.model.function import LATEST, Alias, FunctionId, FunctionVersion
from samovar.store.schema import LATEST_NUMBER

MAX_NUMBER = 2**31 - 1
"""The largest version number that the column holds on every database."""

Row = sa.Row[Any] | sa.RowMapping


def number_of(version: str) -> int | None:
    """A version as the column has it; None for what cannot name a version (`007`, an alias)."""
    if version == LATEST:
        return LATEST_NUMBER
    if not (version.isascii() and version.isdigit()) or len(version) > 10:
        return None
    number = int(version)
    return number if 1 <= number <= MAX_NUMBER and str(number) == version else None


def version_of(number: int) -> str:
    """The inverse of `number_of`."""
    return LATEST if number == LATEST_NUMBER else str(number)


def key_of(function: FunctionId) -> dict[str, str]:
    """The columns that name a function in every table."""
    return {"account": function.account, "region": function.region, "name": function.name}


def version_row(version: FunctionVersion) -> dict[str, Any]:
    """The columns of a version. Raises `ValueError` if it is not named by a number or `$LATEST`."""
    number = number_of(version.version)
    if number is None:
        raise ValueError(f"{version.version!r} does not name a version")
    config = msgspec.to_builtins(version)
    for column in ("id", "version", "revision_id", "state", "last_update_status", "last_modified"):
        del config[column]
    return {
        **key_of(version.id),
        "number": number,
        "revision_id": version.revision_id,
        "state": version.state.value,
        "last_update_status": version.last_update_status.value,
        "code_sha256": version.code.sha256_hex,
        "last_modified": version.last_modified,
        "config": config,
    }


def version_from(row: Any) -> FunctionVersion:
    """The inverse of `version_row`."""
    return msgspec.convert(
        {
            **row.config,
            "id": id_from(row),
            "version": version_of(row.number),
            "revision_id": row.revision_id,
            "state": row.state,
            "last_update_status": row.last_update_status,
            "last_modified": row.last_modified,
        },
        FunctionVersion,
    )


def alias_row(alias: Alias, number: int) -> dict[str, Any]:
    """The columns of an alias."""
    return {
        **key_of(alias.id),
        "alias": alias.name,
        "number": number,
        "revision_id": alias.revision_id,
        "config": {"description": alias.description, "routing": dict(alias.routing)},
    }


def alias_from(row: Any) -> Alias:
    """The inverse of `alias_row`."""
    return msgspec.convert(
        {
            **row.config,
            "id": id_from(row),
            "name": row.alias,
            "version": version_of(row.number),
            "revision_id": row.revision_id,
        },
        Alias,
    )


def id_from(row: Any) -> FunctionId:
    """Which function a row belongs to."""
    return FunctionId(row.account, row.region, row.name)
