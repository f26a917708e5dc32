"""The AWS SDK for Python: functions find it in AWS's runtimes without bringing it along, so also
here: the one that the server itself is installed with, at /var/runtime.

It comes after the function's own modules and its layers, so a version that a function brings along
is taken. https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-searchpath
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

DIRECTORY = "/var/runtime"
_MODULES = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")


def find() -> dict[str, str]:
    """Return the place in an instance → the host's file or directory."""
    found = {}
    for name in _MODULES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        path = Path(spec.origin)
        path = path.parent if spec.submodule_search_locations else path
        found[f"{DIRECTORY}/{path.name}"] = str(path)
    return found
