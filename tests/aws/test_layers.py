"""Layers through boto3: publish, read, list, delete."""

from __future__ import annotations

import base64
import hashlib
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.aws.functions import package
from tests.aws.layers import LayerFactory, refused
from tests.server import Server

TEA = {"python/tea.py": "KIND = 'green'\n"}
MISSING = "The resource you requested does not exist."


def all_pages(operation: Callable[..., Any], member: str, **request: Any) -> list[Any]:
    items: list[Any] = []
    while True:
        page = operation(MaxItems=2, **request)
        assert len(page[member]) <= 2
        items += page[member]
        if not page.get("NextMarker"):
            return items
        request["Marker"] = page["NextMarker"]


def test_a_published_version_comes_back_in_every_way(
    lambda_client: Any, publish: LayerFactory
) -> None:
    published = publish(
        TEA,
        Description="all about tea",
        LicenseInfo="MIT",
        CompatibleRuntimes=["python3.11", "python3.12"],
        CompatibleArchitectures=["x86_64"],
    )
    zipped = package(TEA)
    assert published["Version"] == 1
    assert published["LayerVersionArn"] == f"{published['LayerArn']}:1"
    assert published["Content"]["CodeSize"] == len(zipped)
    digest = base64.b64encode(hashlib.sha256(zipped).digest()).decode()
    assert published["Content"]["CodeSha256"] == digest
    name = published["LayerArn"].rpartition(":")[2]
    for found in (
        lambda_client.get_layer_version(LayerName=name, VersionNumber=1),
        lambda_client.get_layer_version(LayerName=published["LayerArn"], VersionNumber=1),
        lambda_client.get_layer_version_by_arn(Arn=published["LayerVersionArn"]),
    ):
        for member in set(published) - {"ResponseMetadata"}:
            assert found[member] == published[member], member
    with urllib.request.urlopen(published["Content"]["Location"], timeout=30) as answer:
        assert answer.read() == zipped


def test_a_layer_can_come_from_a_bucket(
    lambda_client: Any, publish: LayerFactory, server: Server
) -> None:
    bucket = server.data_dir / "objects" / "buckets" / "layers-test"
    bucket.mkdir(exist_ok=True)
    (bucket / "tea.zip").write_bytes(package(TEA))
    content = {"S3Bucket": "layers-test", "S3Key": "tea.zip"}
    assert publish(TEA, Content=content)["Content"]["CodeSize"] == len(package(TEA))
    with refused("InvalidParameterValueException", "S3 Error Code: NoSuchKey"):
        publish(TEA, Content={"S3Bucket": "layers-test", "S3Key": "coffee.zip"})


def test_version_numbers_go_up_and_are_never_used_again(
    lambda_client: Any, publish: LayerFactory
) -> None:
    name = "numbers-of-tea"
    first = publish(TEA, name=name)["Version"]
    lambda_client.delete_layer_version(LayerName=name, VersionNumber=first)
    assert publish(TEA, name=name)["Version"] == first + 1


def test_a_deleted_version_is_gone(lambda_client: Any, publish: LayerFactory) -> None:
    published = publish(TEA)
    named = {"LayerName": published["LayerArn"], "VersionNumber": 1}
    for _ in range(2):
        answer = lambda_client.delete_layer_version(**named)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    with refused("ResourceNotFoundException", MISSING):
        lambda_client.get_layer_version(**named)
    with refused("ResourceNotFoundException", MISSING):
        lambda_client.get_layer_version_by_arn(Arn=published["LayerVersionArn"])
    assert lambda_client.list_layer_versions(LayerName=published["LayerArn"])["LayerVersions"] == []


def test_listings_go_page_by_page_and_filter(lambda_client: Any, publish: LayerFactory) -> None:
    for number in range(5):
        runtime = "python3.11" if number % 2 else "nodejs20.x"
        publish(TEA, name="paged-a", CompatibleRuntimes=[runtime])
    for name in ("paged-b", "paged-c"):
        publish(TEA, name=name, CompatibleArchitectures=["arm64"])
    versions = all_pages(lambda_client.list_layer_versions, "LayerVersions", LayerName="paged-a")
    numbers = [version["Version"] for version in versions]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 5

    def newest(**filters: str) -> dict[str, int]:
        layers = all_pages(lambda_client.list_layers, "Layers", **filters)
        return {
            layer["LayerName"]: layer["LatestMatchingVersion"]["Version"]
            for layer in layers
            if layer["LayerName"].startswith("paged-")
        }

    last = numbers[0]
    assert newest() == {"paged-a": last, "paged-b": 1, "paged-c": 1}
    assert newest(CompatibleRuntime="python3.11") == {"paged-a": last - 1}
    assert newest(CompatibleArchitecture="arm64") == {"paged-b": 1, "paged-c": 1}


def test_what_cannot_be_published_is_refused(lambda_client: Any, publish: LayerFactory) -> None:
    with refused("InvalidParameterValueException", "Could not unzip uploaded file"):
        publish(TEA, Content={"ZipFile": b"no zip at all"})
    with refused("InvalidParameterValueException", "leads out of the package"):
        publish({"../tea": "x"})
    with refused("InvalidParameterValueException", "Please provide a source"):
        publish(TEA, Content={"S3Bucket": "layers-test"})
    with refused("ValidationException"):
        publish(TEA, name="no name")
    with refused("ValidationException"):
        publish(TEA, CompatibleRuntimes=["python3.11"] * 16)
    with refused("ValidationException"):
        publish(TEA, CompatibleRuntimes=["tea1.0"])
    with refused("ValidationException"):
        publish(TEA, Description="x" * 257)
    assert lambda_client.list_layer_versions(LayerName="tea-unknown")["LayerVersions"] == []


def test_what_is_not_there_is_not_found(lambda_client: Any, publish: LayerFactory) -> None:
    arn = publish(TEA)["LayerArn"]
    for number in (2, 2**31, 2**62):
        with refused("ResourceNotFoundException", MISSING):
            lambda_client.get_layer_version(LayerName=arn, VersionNumber=number)
        with refused("ResourceNotFoundException", MISSING):
            lambda_client.get_layer_version_by_arn(Arn=f"{arn}:{number}")
    for number in (0, -1):
        with refused("InvalidParameterValueException", "Layer Version Cannot be less than 1."):
            lambda_client.get_layer_version(LayerName=arn, VersionNumber=number)
    for bad in (f"{arn}:{'9' * 1900}", "arn:aws:lambda:::awslayer:AmazonLinux1703"):
        with refused("ResourceNotFoundException", MISSING):
            lambda_client.get_layer_version_by_arn(Arn=bad)
    with refused("ValidationException"):
        lambda_client.get_layer_version_by_arn(Arn="tea")
