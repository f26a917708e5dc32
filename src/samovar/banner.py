"""What `samovar up` prints when it is ready: one block for people, one line for programs."""

from __future__ import annotations

import contextlib
import sys

from samovar.config import Config
from samovar.model.isolation import Isolation, Layer

KEYS = "AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any"
"""Any credentials do; the SDKs insist on some."""


TEST_CONTROLS = "TEST CONTROLS ARE ON: clients may advance the clock and make invocations fail"


def ready_line(base_url: str, isolation: Isolation) -> str:
    """The line that programs wait for."""
    return f"samovar ready {base_url} isolation={isolation.driver}"


def ready_block(
    config: Config, base_url: str, isolation: Isolation, runtimes: list[str], example: str | None
) -> str:
    """Address, isolation and why, the store, and three lines to paste."""
    name = example or "FUNCTION"
    lines = [
        f"  address    {base_url}   (the AWS Lambda API)",
        f"  isolation  {_isolation(isolation)}",
        *(f"             without {layer}: {why}" for layer, why in isolation.missing.items()),
        f"  runtimes   {', '.join(runtimes) or 'none'}",
        f"  store      {config.data_dir.resolve()}   (SQLite, and code packages beside it)",
        *([f"  controls   {TEST_CONTROLS}"] if config.test_controls else ()),
        "",
    ]
    if example is None:
        lines += ["  deploy something:", "    samovar deploy app.py", ""]
    lines += [
        "  call it:",
        f"    curl -s '{base_url}/_samovar/url/{name}/?name=world'",
        # By fileb, for --payload itself is base64 to version 2 of the AWS CLI and raw to version 1.
        f'    echo \'{{"name":"world"}}\' | {KEYS} aws --region us-east-1 '
        f"--endpoint-url {base_url} lambda invoke --function-name {name} "
        "--payload fileb:///dev/stdin /dev/stdout",
        f"    {KEYS} python3 -c 'import boto3; "
        f'print(boto3.client("lambda", region_name="us-east-1", endpoint_url="{base_url}")'
        f'.invoke(FunctionName="{name}", Payload="{{}}")["Payload"].read().decode())\'',
    ]
    return "\n".join(lines)


def show(text: str) -> None:
    """Print at once: whoever waits for it may read a pipe, and close it once it has the line."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _isolation(isolation: Isolation) -> str:
    if isolation.driver == "none":
        return "NONE: functions run as this server's user and see its files. Trusted code only."
    have = [layer.value for layer in Layer if layer in isolation.layers]
    return f"{isolation.driver} ({', '.join(have)})"
