"""`samovar up`: runs the platform in the foreground."""

from __future__ import annotations

import os
from typing import Any

from samovar.cli.failure import CommandError


def up(**flags: Any) -> int:
    """Run until SIGTERM or SIGINT; return the exit status. A flag that is None was not given."""
    from samovar.config import Config, ConfigError

    try:
        config = Config.from_sources(os.environ, **flags)
    except ConfigError as error:
        raise CommandError(str(error), "see `samovar up --help`", exit_status=2) from error
    from samovar import wiring

    return wiring.run(config)
