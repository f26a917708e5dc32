"""The ways to name a layer: its name, its ARN, the ARN of a version.

https://docs.aws.amazon.com/lambda/latest/api/API_GetLayerVersion.html
"""

from __future__ import annotations

import re

from samovar.frontend.auth import Caller
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.layer import LayerId

MAX_NUMBER = 2**31 - 1
"""The largest version number that a store holds: larger ones are never there."""

_ARN = re.compile(
    r"arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):layer:"
    r"(?P<name>[a-zA-Z0-9_-]{1,140})(?::(?P<number>[0-9]{1,19}))?",
    re.ASCII,
)


def parse_layer_name(raw: str, caller: Caller) -> LayerId:
    """The layer that a name or an ARN without a version means. Raises NOT_FOUND for others."""
    match = _ARN.fullmatch(raw)
    if match is None:
        return LayerId(caller.account, caller.region, raw)
    if match["number"]:
        raise not_there()
    return LayerId(match["account"], match["region"], match["name"])


def parse_layer_version_arn(arn: str) -> tuple[LayerId, int] | None:
    """The layer and the number; None for what cannot be here, such as AWS's own layers."""
    match = _ARN.fullmatch(arn)
    if match is None or not match["number"]:
        return None
    number = int(match["number"])
    if not 1 <= number <= MAX_NUMBER:
        return None
    return LayerId(match["account"], match["region"], match["name"]), number


def not_there() -> PlatformError:
    """AWS's words for a layer version that is not there."""
    return PlatformError(ErrorCode.NOT_FOUND, "The resource you requested does not exist.")
