"""`samovar layer`: publishes, lists and deletes layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samovar.cli.endpoint import Endpoint
from samovar.cli.failure import CommandError
from samovar.cli.package import PackageError, pack
from samovar.cli.progress import working
from samovar.cli.table import table

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

COLUMNS = ("NAME", "VERSION", "RUNTIMES", "PUBLISHED", "DESCRIPTION")


def publish(
    endpoint: Endpoint, name: str, path: Path, runtimes: Sequence[str], description: str
) -> str:
    """Make a new version of what is in a folder or zip; return what was done."""
    if path.is_file() and path.suffix == ".py":
        raise PackageError(
            f"{path} is a single file", "put it into python/ of a folder, and publish the folder"
        )
    with working(f"packing {path}"):
        package = pack(path)
    client = endpoint.lambda_client()
    request: Any = {"CompatibleRuntimes": list(runtimes)} if runtimes else {}
    with working(f"publishing {name}, {len(package) / 1e3:,.0f} kB"), endpoint.answers():
        published = client.publish_layer_version(
            LayerName=name, Content={"ZipFile": package}, Description=description, **request
        )
    version = published["Version"]
    return f"{name}:{version} published; use it with: samovar deploy PATH --layer {name}:{version}"


def ls(endpoint: Endpoint) -> str:
    """Return the table of the newest versions; only its heading where there are none."""
    client = endpoint.lambda_client()
    rows: list[Sequence[str]] = [COLUMNS]
    with endpoint.answers():
        for page in client.get_paginator("list_layers").paginate():
            for layer in page["Layers"]:
                newest = layer["LatestMatchingVersion"]
                rows.append(
                    (
                        layer["LayerName"],
                        str(newest["Version"]),
                        ", ".join(newest.get("CompatibleRuntimes", ())) or "-",
                        newest["CreatedDate"][:19].replace("T", " "),
                        newest.get("Description") or "-",
                    )
                )
    return table(rows)


def rm(endpoint: Endpoint, layer: str) -> str:
    """Delete one version, or all of a layer that is named without one; return what was done."""
    client = endpoint.lambda_client()
    name, version = _parts(layer)
    with endpoint.answers():
        numbers = [version] if version else list(_versions(client, name))
        if not numbers:
            raise _unknown(name)
        for number in numbers:
            client.delete_layer_version(LayerName=name, VersionNumber=number)
    return f"{layer} deleted"


def version_arn(client: LambdaClient, layer: str) -> str:
    """The ARN of what `NAME`, `NAME:VERSION` or either as an ARN names; without a version, of the
    newest one. Raises `CommandError` and what botocore does."""
    name, version = _parts(layer)
    if version and name.startswith("arn:"):
        return layer
    if version:
        found = client.get_layer_version(LayerName=name, VersionNumber=version)
        return found["LayerVersionArn"]
    newest = client.list_layer_versions(LayerName=name, MaxItems=1)["LayerVersions"]
    if not newest:
        raise _unknown(name)
    return newest[0]["LayerVersionArn"]


def _parts(layer: str) -> tuple[str, int | None]:
    """Name (or ARN) and version."""
    head, colon, tail = layer.rpartition(":")
    if not colon or head.endswith(":layer"):
        return layer, None
    if not tail.isdecimal():
        raise CommandError(
            f"{layer} names no layer", "say NAME, NAME:VERSION or an ARN", exit_status=2
        )
    return head, int(tail)


def _versions(client: LambdaClient, name: str) -> Iterator[int]:
    for page in client.get_paginator("list_layer_versions").paginate(LayerName=name):
        for version in page["LayerVersions"]:
            yield version["Version"]


def _unknown(name: str) -> CommandError:
    return CommandError(f"there is no layer {name}", "`samovar layer ls` lists them")
