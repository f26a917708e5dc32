"""The platform's own log: structured, one event a line, for people or for machines.

    log = get_logger("worker")
    log.info("instance started", instance=id, origin="blank")

Built on the standard library's logging, so that uvicorn's and SQLAlchemy's lines look alike.
What functions print is not logged here: that is the `LogStore`'s.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

ROOT = "samovar"


class Logger:
    """Adds fields to the standard logger's methods."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: Any) -> None:
        self._logger.debug(event, extra={"fields": fields})

    def info(self, event: str, **fields: Any) -> None:
        self._logger.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: Any) -> None:
        self._logger.warning(event, extra={"fields": fields})

    def exception(self, event: str, **fields: Any) -> None:
        """With the traceback of the exception that is being handled."""
        self._logger.exception(event, extra={"fields": fields})


def get_logger(name: str) -> Logger:
    """Return the logger of one part of the platform."""
    return Logger(logging.getLogger(f"{ROOT}.{name}"))


class ConsoleFormatter(logging.Formatter):
    """`12:34:56 WARNING worker: instance lost  instance=i-1`."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        name = record.name.removeprefix(f"{ROOT}.")
        fields = "".join(f"  {k}={v}" for k, v in getattr(record, "fields", {}).items())
        line = f"{clock} {record.levelname:<7} {name}: {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)


def configure(*, as_json: bool) -> None:
    """Send the platform's log to stderr. Called once, by wiring."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT).setLevel(logging.INFO)
