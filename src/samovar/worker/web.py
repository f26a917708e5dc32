"""Which functions are web servers that the platform speaks HTTP to."""

from __future__ import annotations

from pathlib import Path

from samovar.model.function import FunctionVersion
from samovar.model.web import ADAPTER_FILES, WebSettings, web_settings


def web_server(version: FunctionVersion, layers_dir: Path | None) -> WebSettings | None:
    """How to speak to a version whose layers are unpacked there; None if it is no web server, or
    brings the AWS Lambda Web Adapter along, which then does its own work."""
    if layers_dir and any((layers_dir / name).is_file() for name in ADAPTER_FILES):
        return None
    return web_settings(version.environment)
