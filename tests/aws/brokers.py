"""What tests with real brokers share: the brokers, and functions that say what they got."""

from __future__ import annotations

import json
from typing import Any

from tests.aws.moto_server import Moto

PRINT_EVENT = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
"""

FAIL_AT_FIRST = """
import json
from pathlib import Path

def handler(event, context):
    print("EVENT " + json.dumps(event))
    seen = Path("/tmp/seen")
    if not seen.exists():
        seen.touch()
        raise RuntimeError("not yet")
"""

NEVER_DONE = """
import json, time

def handler(event, context):
    print("EVENT " + json.dumps(event | {"id": context.aws_request_id}), flush=True)
    time.sleep(60)
"""

CREDENTIALS = {"username": "guest", "password": "guest"}


def make_secret(moto: Moto, name: str, content: dict[str, Any]) -> str:
    """A secret of Secrets Manager; its ARN."""
    secret = moto.client("secretsmanager").create_secret(
        Name=name, SecretString=json.dumps(content)
    )
    arn: str = secret["ARN"]
    return arn
