"""The Runtime API where instances have the machine's network: as in a container without
privileges, where root can give each a uid of its own, and an ordinary user cannot."""

from __future__ import annotations

import contextlib
import http.client
import json
from pathlib import Path

import pytest

from samovar.guest import wire
from samovar.model.isolation import Layer
from tests.aws.runtimes import python_client
from tests.contract.sandbox_client import Client, opened, spec

RUNTIME = "provided.al2023"
SHARED = frozenset({Layer.NETWORK, Layer.MOUNTS, Layer.PROCESSES})
ALSO_THE_UID = SHARED | {Layer.USER}

ECHO = """
import subprocess
id, event, _ = next_event()
respond(id, HOST)
while True:
    id, event, _ = next_event()
    curl = ["curl", "-sS", "-d", json.dumps(event), f"http://{HOST}{ROOT}/invocation/{id}/response"]
    subprocess.run(curl, check=True)
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "bootstrap").write_text(python_client(ECHO))
    (folder / "bootstrap").chmod(0o755)
    return folder


@pytest.mark.parametrize("shared", [SHARED, ALSO_THE_UID], ids=["uids of their own", "one uid"])
async def test_only_processes_of_the_instance_may_speak_to_it(code, tmp_path, shared):
    async with opened(tmp_path / "data", disabled_layers=shared) as sandbox:
        if Layer.USER not in sandbox.isolation.layers | shared:
            pytest.skip("needs root: for instances with uids of their own")
        instance = await sandbox.start(spec(code, runtime=RUNTIME))
        try:
            client = Client(instance)
            await initialise(client)
            host, port = (await invoke(client, {})).split(":")
            assert is_turned_away(host, int(port))
            assert await invoke(client, {"tea": 1}) == {"tea": 1}
        finally:
            await instance.stop()


def is_turned_away(host, port):
    stranger = http.client.HTTPConnection(host, port, timeout=20)
    with contextlib.closing(stranger):
        try:
            stranger.request("GET", "/2018-06-01/runtime/invocation/next")
            stranger.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            return True
    return False


async def initialise(client):
    root = client.instance.task_root
    env = {"PATH": "/usr/bin:/bin", "LAMBDA_TASK_ROOT": root}
    init = {"runtime": RUNTIME, "task_root": root, "handler": "x", "env": env}
    await client.send(wire.INIT, init)
    assert (await client.frame())[0] == wire.READY


async def invoke(client, event):
    meta = {"id": "1", "arn": "arn", "deadline_ms": 4_000_000_000_000}
    await client.send(wire.INVOKE, meta, json.dumps(event).encode())
    while True:
        kind, _, body = await client.frame()
        if kind == wire.RESPONSE:
            return json.loads(body)
        assert kind == wire.IDLE
