"""Which functions are web servers that the platform speaks HTTP to."""

from __future__ import annotations

from samovar.model.function import FunctionVersion
from samovar.model.web import WebSettings, web_settings
from samovar.worker.contents import Contents


def web_server(version: FunctionVersion, layers: Contents) -> WebSettings | None:
    """How to speak to a version whose layers bring that; None if it is no web server, or they
    bring the AWS Lambda Web Adapter along, which then does its own work."""
    if layers.web_adapter:
        return None
    return web_settings(version.environment)
