"""An ARN: what a resource of AWS, or of something compatible, is called."""

from __future__ import annotations

import re
from typing import NamedTuple

_ARN = re.compile(
    r"arn:(aws[a-z-]{0,20}):([a-z0-9-]{1,40}):([a-z0-9-]{0,40}):(\d{12})?:([\x21-\x7e]{1,300})"
)


class Arn(NamedTuple):
    """Its parts. Region and account are empty where the service has them not (buckets)."""

    partition: str
    service: str
    """`sqs`, `sns`, `events`, `s3`, `lambda`, …"""
    region: str
    account: str
    resource: str

    @classmethod
    def parse(cls, text: str) -> Arn | None:
        """None where it is none."""
        match = _ARN.fullmatch(text)
        return cls(*(part or "" for part in match.groups())) if match else None
