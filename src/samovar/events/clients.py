"""Clients of the services that events come from and go to: SQS, SNS, EventBridge, S3, ….

Where they are and what requests are signed with is the configuration's; the machine's environment,
profiles and metadata service have no say. Each request has a bound on its time, and is made once:
who asks knows best when to try again. Of an answer that makes no sense botocore may make
anything: an exception of any type, or a result without members.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from samovar.config import Config, no_endpoint
from samovar.model.errors import ErrorCode, PlatformError

CONNECT_LIMIT_S = 5.0
READ_LIMIT_S = 30.0
"""Between two parts of an answer. Over the 20 s that a long poll of SQS may take."""

MAX_CONNECTIONS = 256
"""Of one client at a time."""

MAX_CLIENTS = 64
"""That are kept. A region is what an ARN says, so without a bound anybody could have a thousand."""

MEANINGLESS_KEY = "samovar"
"""Requests have to be signed with something."""


class AwsClients:
    """One client for each service and region, made when it is first wanted. An async context
    manager: at its end all of them are closed."""

    def __init__(self, config: Config, *, most: int = MAX_CLIENTS) -> None:
        """`most`: clients that are kept; more are there while all of them are in use."""
        self._config = config
        self._most = most
        self._session: Any = None
        self._client_config: Any = None
        self._clients: dict[tuple[str, str], _Client] = {}
        self._making = asyncio.Lock()

    async def __aenter__(self) -> AwsClients:
        return self

    async def __aexit__(self, *_: object) -> None:
        for kept in self._clients.values():
            await kept.stack.aclose()
        self._clients.clear()

    def endpoint_of(self, service: str) -> str | None:
        """The URL of `sqs`, `events`, `dynamodbstreams`, …; None: nothing is configured for it."""
        return self._config.endpoint_of(service)

    @contextlib.asynccontextmanager
    async def client(self, service: str, region: str) -> AsyncIterator[Any]:
        """The client of a service, for the time of a block. Others share it.

        Raises `PlatformError` INVALID_PARAMETER where the service has no endpoint here, botocore's
        errors where the region cannot be one."""
        kept = self._clients.get((service, region))
        if kept is None:
            async with self._making:
                kept = self._clients.get((service, region)) or await self._make(service, region)
        kept.users += 1
        try:
            yield kept.client
        finally:
            kept.users -= 1

    async def _make(self, service: str, region: str) -> _Client:
        endpoint = self.endpoint_of(service)
        if endpoint is None:
            raise PlatformError(ErrorCode.INVALID_PARAMETER, no_endpoint(service))
        await self._make_room()
        # What is imported and read for it takes hundreds of milliseconds: the first time, seconds.
        client = await asyncio.to_thread(asyncio.run, self._create(service, region, endpoint))
        stack = contextlib.AsyncExitStack()
        stack.push_async_exit(client)
        kept = self._clients[service, region] = _Client(client, stack)
        return kept

    async def _create(self, service: str, region: str, endpoint: str) -> Any:
        """Make a client, on an event loop of its own. It opens no connection before it is used."""
        if self._session is None:
            self._session, self._client_config = _isolated_session(), _client_config()
        made = self._session.create_client(
            service,
            region_name=region,
            endpoint_url=endpoint,
            verify=True,
            aws_access_key_id=self._config.aws_access_key_id or MEANINGLESS_KEY,
            aws_secret_access_key=self._config.aws_secret_access_key or MEANINGLESS_KEY,
            config=self._client_config,
        )
        return await made.__aenter__()

    async def _make_room(self) -> None:
        """Close clients that nobody uses, the oldest first, while there are too many."""
        for key, kept in list(self._clients.items()):
            if len(self._clients) < self._most:
                return
            if not kept.users:
                del self._clients[key]
                await kept.stack.aclose()


class _Client:
    def __init__(self, client: Any, stack: contextlib.AsyncExitStack) -> None:
        self.client = client
        self.stack = stack
        self.users = 0


def _isolated_session() -> Any:
    """A session that reads nothing of the environment and of the files in ~/.aws."""
    from aiobotocore.session import AioSession
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
    from botocore.loaders import Loader

    session = AioSession()
    settings = session.get_component("config_store")
    for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
        settings.set_config_variable(name, default)
    for name in ("config_file", "credentials_file"):
        settings.set_config_variable(name, os.devnull)
    models = Loader(
        extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False
    )
    session.register_component("data_loader", models)
    return session


def _client_config() -> Any:
    from aiobotocore.config import AioConfig

    from samovar.events.aws_http import AwsHttpSession

    return AioConfig(
        http_session_cls=AwsHttpSession,
        connect_timeout=CONNECT_LIMIT_S,
        read_timeout=READ_LIMIT_S,
        max_pool_connections=MAX_CONNECTIONS,
        retries={"total_max_attempts": 1, "mode": "standard"},
        proxies={},
        ignore_configured_endpoint_urls=True,
        account_id_endpoint_mode="disabled",
        s3={"addressing_style": "path"},  # names of buckets need not be names of hosts
        request_checksum_calculation="when_required",  # not every S3-compatible store has the rest
        response_checksum_validation="when_required",
    )
