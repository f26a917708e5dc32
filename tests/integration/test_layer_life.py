"""Layers through the ends of a server: restarts, kills, and what is swept afterwards."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.aws.functions import FunctionFactory, lambda_client_of, package
from tests.aws.layers import LayerFactory
from tests.server import Server, running

GREEN = {"python/tea.py": "KIND = 'green'\n"}
HANDLER = "def handler(event, context):\n    import tea\n    return tea.KIND\n"


def packages_in(data_dir: Path) -> set[str]:
    return {path.stem for path in (data_dir / "objects" / "code").glob("*.zip")}


def make_old(data_dir: Path) -> None:
    """Let packages be older than a sweep's grace."""
    for path in (data_dir / "objects" / "code").iterdir():
        os.utime(path, (0, 0))


def test_a_restart_keeps_layers_and_what_functions_need_of_deleted_ones(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with running(data_dir, "--no-examples") as server:
        with closing(lambda_client_of(server.endpoint)) as client:
            publish = LayerFactory(client, "life")
            used, kept, unused = publish(GREEN), publish({"a": "kept"}), publish({"a": "unused"})
            make = FunctionFactory(client, "life", server.newest_runtime())
            name = make(HANDLER, Layers=[used["LayerVersionArn"]])
            for gone in (used, unused):
                client.delete_layer_version(LayerName=gone["LayerArn"], VersionNumber=1)
        assert len(packages_in(data_dir)) == 4
    make_old(data_dir)
    with running(data_dir, "--no-examples") as server:
        assert len(packages_in(data_dir)) == 3  # the function's, its layer's, and the kept one's
        with closing(lambda_client_of(server.endpoint)) as client:
            assert client.invoke(FunctionName=name)["Payload"].read() == b'"green"'
            found = client.get_layer_version(LayerName=kept["LayerArn"], VersionNumber=1)
            assert found["Content"]["CodeSha256"] == kept["Content"]["CodeSha256"]
            again = LayerFactory(client, "life")(GREEN, name=unused["LayerArn"].split(":")[-1])
            assert again["Version"] == 2


@pytest.mark.parametrize("acknowledged", [0, 1, 3])
def test_a_kill_in_the_midst_of_publishing_leaves_nothing_half_made(
    tmp_path: Path, acknowledged: int
) -> None:
    data_dir = tmp_path / "data"
    server = Server(data_dir, "--no-examples").start()
    answered: list[dict[str, Any]] = []
    enough = threading.Event()
    publisher = threading.Thread(
        target=_publish_until_it_ends,
        args=(server.endpoint, answered, lambda: len(answered) >= acknowledged and enough.set()),
    )
    publisher.start()
    assert enough.wait(60)
    server.kill()
    publisher.join(60)
    with (
        running(data_dir, "--no-examples") as again,
        closing(lambda_client_of(again.endpoint)) as client,
    ):
        listed = client.list_layer_versions(LayerName="tea")["LayerVersions"]
        numbers = [version["Version"] for version in listed]
        assert numbers == list(range(len(numbers), 0, -1))
        assert len(answered) <= len(numbers) <= len(answered) + 1
        for number in numbers:
            found = client.get_layer_version(LayerName="tea", VersionNumber=number)
            assert found["Content"]["CodeSize"] > 1_000_000
        name = FunctionFactory(client, "killed", again.newest_runtime())(
            HANDLER, Layers=[version["LayerVersionArn"] for version in listed[:1]]
        )
        if listed:
            assert client.invoke(FunctionName=name)["Payload"].read() == b'"green"'
    assert not [path for path in (data_dir / "objects" / "code").iterdir() if "#" in path.name]
    with closing(sqlite3.connect(data_dir / "samovar.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _publish_until_it_ends(
    endpoint: str, answered: list[dict[str, Any]], tell: Callable[[], object]
) -> None:
    tell()
    with closing(lambda_client_of(endpoint)) as client:
        while len(answered) < 200:
            content = GREEN | {"noise": os.urandom(1_000_000)}
            try:
                answered.append(
                    client.publish_layer_version(
                        LayerName="tea", Content={"ZipFile": package(content)}
                    )
                )
            except (BotoCoreError, ClientError):
                return
            tell()
