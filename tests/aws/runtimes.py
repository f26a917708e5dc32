"""Runtimes for tests: packages whose files are executable, and a client of the Runtime API."""

from __future__ import annotations

import base64
import importlib.metadata
import io
import json
import shutil
import subprocess
import textwrap
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

SHELL_BOOTSTRAP = """\
#!/bin/sh
set -eu
API="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
  event=$(curl -sS -D /tmp/headers "$API/invocation/next")
  id=$(grep -i '^lambda-runtime-aws-request-id' /tmp/headers | tr -d '\\r' | cut -d' ' -f2)
  echo "got $event"
  curl -sS -o /tmp/answer -d "{\\"event\\": $event, \\"handler\\": \\"$_HANDLER\\"}" \\
    "$API/invocation/$id/response"
done
"""

_CLIENT = '''\
#!/usr/bin/python3
"""What every script of `python_bootstrap` begins with."""
import http.client, json, os, signal, socket, sys, time

HOST = os.environ["AWS_LAMBDA_RUNTIME_API"]
ROOT = "/2018-06-01/runtime"

def call(method, where, body=None, headers={}, connection=None):
    """(status, headers, body) of one request, on a connection of its own if none is given."""
    used = connection or http.client.HTTPConnection(HOST)
    used.request(method, ROOT + where, body, headers)
    answer = used.getresponse()
    text = answer.read()
    if not connection:
        used.close()
    return answer.status, answer.headers, text

def next_event():
    """(request id, event, headers)"""
    status, headers, body = call("GET", "/invocation/next")
    assert status == 200, (status, body)
    return headers["Lambda-Runtime-Aws-Request-Id"], json.loads(body), headers

def respond(id, value, **more):
    return call("POST", f"/invocation/{id}/response", json.dumps(value), **more)

def stream(id, headers={}):
    """A connection on which a response in chunks has begun."""
    one = socket.create_connection(HOST.split(":"))
    more = "".join(f"{name}: {value}\\r\\n" for name, value in headers.items())
    one.sendall((
        f"POST {ROOT}/invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\n{more}"
        "Lambda-Runtime-Function-Response-Mode: streaming\\r\\n"
        "Transfer-Encoding: chunked\\r\\n\\r\\n"
    ).encode())
    return one

def chunk(data):
    return b"%x\\r\\n%b\\r\\n" % (len(data), data)

def answer_of(one):
    """(status, body) that came on a connection."""
    answer = http.client.HTTPResponse(one)
    answer.begin()
    return answer.status, answer.read()

def fail(id, document, headers={}):
    return call("POST", f"/invocation/{id}/error", json.dumps(document), headers)

'''


def when_free(call: Callable[[], Any]) -> Any:
    """The answer of a call, once the one instance of its function is free for it."""
    while True:
        try:
            return call()
        except ClientError as error:
            if error.response["Error"]["Code"] != "TooManyRequestsException":
                raise


def invoke(client: Any, name: str, event: Any = None, **more: Any) -> tuple[Any, Any, str]:
    """(value, function error, log) of one call."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail", **more)
    log = base64.b64decode(answer["LogResult"]).decode(errors="replace")
    return json.loads(answer["Payload"].read()), answer.get("FunctionError"), log


def executables(files: Mapping[str, str | bytes]) -> bytes:
    """A zip whose files are all executable."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def python_bootstrap(script: str) -> dict[str, object]:
    """Settings for a function whose bootstrap speaks to the Runtime API by hand."""
    return custom({"bootstrap": python_client(script)})


def python_client(script: str) -> str:
    """A bootstrap that speaks to the Runtime API by hand."""
    return _CLIENT + textwrap.dedent(script)


def custom(files: Mapping[str, str | bytes], runtime: str = "provided.al2023") -> dict[str, object]:
    """Settings for a function on a custom runtime."""
    return {"Runtime": runtime, "Code": {"ZipFile": executables(files)}}


def needed(command: str) -> str:
    """The path of a command below /usr, where instances see it; skips the test if there is none."""
    path = shutil.which(command, path="/usr/local/bin:/usr/bin:/bin")
    if path is None:
        pytest.skip(f"this machine has no {command}")
    return path


def compiled(source: str, folder: Path) -> bytes:
    """A program made of C."""
    (folder / "bootstrap.c").write_text(source)
    subprocess.run(
        [needed("gcc"), "-O1", "-o", "bootstrap", "bootstrap.c"], cwd=folder, check=True, timeout=60
    )
    return (folder / "bootstrap").read_bytes()


def installed(*distributions: str) -> dict[str, bytes]:
    """The files of distributions that the tests have, by their place in a zip; skips the test if
    one is missing."""
    found = {}
    for name in distributions:
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed")
        for file in files:
            if file.suffix != ".pyc" and ".." not in file.parts:
                found[str(file)] = Path(str(file.locate())).read_bytes()
    return found
