"""The Telemetry API, version 2022-07-01, and the Logs API before it: how extensions subscribe.

    PUT /2022-07-01/telemetry
    PUT /2020-08-15/logs

https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html
Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from samovar.guest.telemetry_subscription import (
    LOGS_VERSIONS,
    TELEMETRY_VERSIONS,
    InvalidSubscriptionError,
    parse,
)

if TYPE_CHECKING:
    from samovar.guest.extensions import Extensions
    from samovar.guest.http_listener import Exchange, Router
    from samovar.guest.instance_log import InstanceLog
    from samovar.guest.telemetry import Telemetry


class TelemetryApi:
    """Adds its routes to `router`. `reserved_port` is that of the Runtime API itself."""

    def __init__(
        self,
        router: Router,
        extensions: Extensions,
        telemetry: Telemetry,
        log: InstanceLog,
        reserved_port: int,
    ) -> None:
        self._extensions = extensions
        self._telemetry = telemetry
        self._log = log
        self._reserved_port = reserved_port
        for path in ("/2022-07-01/telemetry", "/2022-07-01/telemetry/"):
            router.add("PUT", path, lambda e: self._subscribe(e, "Telemetry", TELEMETRY_VERSIONS))
        router.add("PUT", "/2020-08-15/logs", lambda e: self._subscribe(e, "Logs", LOGS_VERSIONS))

    def _subscribe(self, exchange: Exchange, api: str, versions: tuple[str, ...]) -> None:
        extension = self._extensions.identify(exchange)
        if extension is None:
            return
        if not self._telemetry.open:
            message = f"{api} API subscription is closed already"
            _answer(exchange, 403, f"{api}.SubscriptionClosed", message)
            return
        try:
            subscription = parse(exchange.request.body, versions, self._reserved_port)
        except InvalidSubscriptionError as error:
            _answer(exchange, 400, "ValidationError", str(error))
            return
        exchange.answer(200, b'"OK"')
        self._telemetry.subscribe(extension.name, subscription)
        types = ", ".join(name.capitalize() for name in sorted(subscription.types))
        line = f"{api.upper()}\tName: {extension.name}\tState: Subscribed\tTypes: [{types}]\n"
        self._log.write(line.encode())


def _answer(exchange: Exchange, status: int, error_type: str, message: str) -> None:
    document = {"errorType": error_type, "errorMessage": message}
    exchange.answer(status, json.dumps(document).encode())
