"""The AWS SDK for Python: functions find it in AWS's runtimes without bringing it along, so also
here: the one that the server itself is installed with, at /var/runtime.

It comes after the function's own modules and its layers, so a version that a function brings along
is taken. https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-searchpath
"""

from __future__ import annotations

import importlib.metadata
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from samovar.telemetry.log import get_logger

log = get_logger("sandbox")

DIRECTORY = "/var/runtime"
_MODULES = {
    "boto3": "boto3",
    "botocore": "botocore",
    "jmespath": "jmespath",
    "python-dateutil": "dateutil",
    "s3transfer": "s3transfer",
    "six": "six.py",
    "urllib3": "urllib3",
}
"""Distribution → what it installs."""

_OLDEST = re.compile(r">=\s*3\.(\d+)")
_READABLE = stat.S_IRGRP | stat.S_IROTH


@dataclass(frozen=True, slots=True)
class Sdk:
    """What instances may be shown."""

    places: Mapping[str, str] = field(default_factory=dict)
    """Place in an instance → the host's file or directory."""
    oldest_minor: int = 0
    """It needs Python 3.N."""

    def shown_to(self, interpreter: str) -> Mapping[str, str]:
        """What an interpreter (`…/python3.11`) can use of it."""
        found = re.search(r"python3\.(\d+)$", interpreter)
        return self.places if found and int(found[1]) >= self.oldest_minor else {}


def find() -> Sdk:
    """The SDK as it is installed here; none where it is not, or not fit to be shown."""
    places, oldest_minor = {}, 0
    try:
        for name, installed in _MODULES.items():
            distribution = importlib.metadata.distribution(name)
            path = Path(str(distribution.locate_file(installed))).resolve(strict=True)
            if path.stat().st_mode & _READABLE != _READABLE:
                raise PermissionError(f"{path} is not readable for everybody")
            places[f"{DIRECTORY}/{installed}"] = str(path)
            needs = _OLDEST.search(distribution.metadata["Requires-Python"] or "")
            oldest_minor = max(oldest_minor, int(needs[1]) if needs else 0)
    except importlib.metadata.PackageNotFoundError:
        return Sdk()
    except OSError as error:
        log.warning("functions have to bring the AWS SDK along", reason=str(error))
        return Sdk()
    return Sdk(places, oldest_minor)
