"""A layer: files that several functions share, published as immutable, numbered versions.

A function refers to layer versions by their ARN and keeps what it needs of them (`LayerRef`), so
that it goes on when one is deleted. Who of another account may use a layer version is said by its
policy.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from samovar.model.function import CodeRef

MAX_LAYERS = 5
"""Of one function: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

EVERYBODY = "*"


class LayerId(NamedTuple):
    """Which layer: unique within an account and region."""

    account: str
    region: str
    name: str

    @property
    def arn(self) -> str:
        """The ARN without a version."""
        return f"arn:aws:lambda:{self.region}:{self.account}:layer:{self.name}"

    def version_arn(self, number: int) -> str:
        """The ARN of one version."""
        return f"{self.arn}:{number}"


@dataclass(frozen=True, slots=True)
class LayerVersion:
    """One version of a layer. Nothing of it ever changes."""

    id: LayerId
    number: int
    """From 1; never used again, also when the version is deleted."""
    code: CodeRef
    created: dt.datetime
    description: str = ""
    license_info: str = ""
    runtimes: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    """Both tell people what it is made for; nothing is refused for them, as on AWS."""

    @property
    def arn(self) -> str:
        """The ARN of this version."""
        return self.id.version_arn(self.number)


@dataclass(frozen=True, slots=True)
class LayerPolicy:
    """Which other accounts may use a layer version."""

    revision_id: str
    """Changes with each change."""
    statements: Mapping[str, str]
    """Statement id → an account, or `EVERYBODY`."""

    def allows(self, account: str) -> bool:
        """Whether functions of this account may use it."""
        return bool({account, EVERYBODY} & set(self.statements.values()))
