"""The way to a server: botocore's clients for the AWS APIs, plain HTTP for Samovar's own.

Credentials and region are found as any AWS client finds them (environment, shared files), and
where there are none, dummies serve: the server takes any. What would ask the network for
credentials (instance metadata, SSO) is left out, and so are proxies and retries: each could only
delay or hide the answer of a server that is near.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from samovar.cli.failure import CommandError

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from mypy_boto3_lambda import LambdaClient

DEFAULT_URL = "http://127.0.0.1:9000"
DEFAULT_REGION = "us-east-1"
CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 120
"""For everything but Invoke."""
INVOKE_TIMEOUT_S = 15 * 60 + 90
"""AWS's longest function time-out, and as long as a request may queue."""

ACCOUNT = re.compile(r"\d{12}")
"""An access key of this form names an account; any other stands for the default one."""
LIST_FUNCTIONS = "`samovar ls` lists the functions"
LOCAL_CREDENTIAL_SOURCES = frozenset({"env", "shared-credentials-file", "config-file"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, and the region to speak of to it."""

    url: str = DEFAULT_URL
    region: str | None = None
    """None: what the AWS configuration says, else us-east-1."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        try:
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            valid = False
        if not valid:
            raise CommandError(
                f"{self.url!r} is no endpoint",
                f"give one like {DEFAULT_URL} in --endpoint or SAMOVAR_ENDPOINT",
                exit_status=2,
            )

    def lambda_client(self, timeout_s: float = ANSWER_TIMEOUT_S) -> LambdaClient:
        """A botocore client; its calls belong inside `answers()`."""
        return cast("LambdaClient", self._client("lambda", timeout_s))

    def scheduler_client(self) -> Any:
        """Likewise, for schedules."""
        return self._client("scheduler", ANSWER_TIMEOUT_S)

    def _client(self, service: str, timeout_s: float) -> Any:
        from botocore.config import Config

        session, credentials, region = self._aws_configuration()
        return session.create_client(
            service,
            region_name=region,
            endpoint_url=self.url,
            aws_access_key_id=credentials.access_key if credentials else "samovar",
            aws_secret_access_key=credentials.secret_key if credentials else "samovar",
            aws_session_token=credentials.token if credentials else None,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=timeout_s,
                retries={"total_max_attempts": 1},
                proxies={},
                parameter_validation=False,  # the server's messages are AWS's own
            ),
        )

    def scope(self) -> dict[str, str]:
        """The region and account that a signed request would speak of, for one that is not."""
        _, credentials, region = self._aws_configuration()
        account = credentials.access_key if credentials else ""
        return {"region": region} | ({"account": account} if ACCOUNT.fullmatch(account) else {})

    def _aws_configuration(self) -> tuple[Any, Any, str]:
        """botocore's session, the credentials (or None) and the region."""
        import botocore.session
        from botocore.exceptions import BotoCoreError

        session = botocore.session.Session()
        try:
            resolver = session.get_component("credential_provider")
            for provider in list(resolver.providers):
                if provider.METHOD not in LOCAL_CREDENTIAL_SOURCES:
                    resolver.remove(provider.METHOD)
            configured = session.get_config_variable("region")
            return session, session.get_credentials(), self.region or configured or DEFAULT_REGION
        except BotoCoreError as error:
            raise CommandError(
                f"the AWS configuration of this account cannot be used: {error}",
                "mend it, or unset AWS_PROFILE",
                exit_status=2,
            ) from error

    @contextlib.contextmanager
    def answers(self, if_not_found: str = LIST_FUNCTIONS) -> Iterator[None]:
        """Turns whatever a botocore call raises inside it into a `CommandError`; `if_not_found` is
        the next step where something is not there."""
        from botocore import exceptions
        from urllib3.exceptions import HTTPError

        try:
            yield
        except exceptions.ClientError as error:
            answer = error.response["Error"]
            raise _refusal(
                answer.get("Code", ""), answer.get("Message", ""), if_not_found
            ) from error
        except exceptions.ReadTimeoutError as error:
            raise CommandError(
                f"{self.url} took too long to answer", "look at the server's own log"
            ) from error
        except exceptions.ConnectionError as error:
            raise self.unreachable() from error
        except (exceptions.HTTPClientError, HTTPError) as error:  # urllib3's: in mid-stream
            raise CommandError(
                f"{self.url} closed the connection unanswered", "look at the server's own log"
            ) from error

    def unreachable(self) -> CommandError:
        """The error of a server that is not there."""
        return CommandError(
            f"no server answers at {self.url}", "start one with `samovar up`", exit_status=2
        )

    def health(self) -> dict[str, Any]:
        """`GET /_samovar/health`."""
        with self.ask("/_samovar/health") as response:
            answer = json.loads(response.read())
        return answer if isinstance(answer, dict) else {}

    @contextlib.contextmanager
    def ask(
        self,
        path: str,
        timeout_s: float | None = 30.0,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Iterator[HTTPResponse]:
        """A 200 answer of Samovar's own API, to be read. Raises `CommandError` for any other."""
        import http.client

        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(parts.hostname or "", parts.port, timeout=CONNECT_TIMEOUT_S)
        try:
            try:
                connection.connect()
                connection.sock.settimeout(timeout_s)
                connection.request(method, parts.path.rstrip("/") + path, body)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self.unreachable() from error
            if response.status != 200:
                raise CommandError(_problem(response, self.url))
            yield response
        finally:
            connection.close()


def _refusal(code: str, message: str, if_not_found: str) -> CommandError:
    message = message.rstrip(".") or "refused"
    if code == "ResourceNotFoundException":
        return CommandError(message, if_not_found)
    return CommandError(f"{message} ({code})")


def _problem(response: HTTPResponse, url: str) -> str:
    body = response.read(65536)
    try:
        answer = json.loads(body)
        message = answer.get("message") or answer.get("Message")
    except (ValueError, AttributeError):
        message = None
    return str(message or f"{url} answered {response.status} {response.reason}")
