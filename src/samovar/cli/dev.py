"""`samovar dev`: a path that is being worked on, as a function that follows every save.

How this works. The server is a running one, or a child of ours (`own_server`). The main thread
watches and deploys. Another prints the function's log as it comes, and each deployment is tried in
one more: an instance is started, so that what is wrong with the code's init shows at once and the
next call finds it warm.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

from samovar.cli.deploy import Settings, put
from samovar.cli.endpoint import DEFAULT_REGION, DEFAULT_URL, INVOKE_TIMEOUT_S, Endpoint
from samovar.cli.failure import CommandError
from samovar.cli.own_server import Wanted, own_server
from samovar.cli.package import PackageError, build
from samovar.cli.terminal import Terminal
from samovar.cli.watch import changes

LOG_CHUNK_BYTES = 64 * 1024
PROBE_TIMEOUT_S = 2.0
AGAIN_AFTER_S = (1.0, 60.0)
"""How soon what the server did not take is tried anew, each time later: from, to."""


def dev(
    endpoint: Endpoint | None,
    region: str | None,
    path: Path,
    name: str | None,
    settings: Settings,
    wanted: Wanted,
) -> None:
    """Deploy the path whenever it changes and print the function's log, until interrupted.

    `endpoint` None: the server at the default address, or one of our own where there is none or
    where a certain isolation is wanted. Raises `CommandError` for what saving again cannot mend."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        Terminal.of_this_process() as terminal,
        _server(endpoint, region, wanted, terminal) as server,
    ):
        _Session(server, path, name, settings, terminal).run()


@contextlib.contextmanager
def _server(
    endpoint: Endpoint | None, region: str | None, wanted: Wanted, terminal: Terminal
) -> Iterator[Endpoint]:
    near = endpoint or Endpoint(DEFAULT_URL, region)
    if endpoint or (wanted.isolation is None and _is_ours(near)):
        yield near
        return
    with own_server(wanted, terminal.path if wanted.isolation == "none" else None) as ready_line:
        _, _, url, isolation = ready_line.split()
        _say(f"server started at {url} ({isolation})")
        yield Endpoint(url, region)


def _is_ours(endpoint: Endpoint) -> bool:
    try:
        with endpoint.ask("/_samovar/health", PROBE_TIMEOUT_S) as response:
            return b'"isolation"' in response.read(LOG_CHUNK_BYTES)
    except (CommandError, OSError, http.client.HTTPException):
        return False


class _Session:
    """One path, one function."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: Path,
        name: str | None,
        settings: Settings,
        terminal: Terminal,
    ) -> None:
        self._endpoint = endpoint
        self._client = endpoint.lambda_client()
        self._path = path
        self._name = name
        self._settings = settings
        self._terminal = terminal
        self._deployments = 0
        self._again_at = math.inf
        """When to try anew what the server did not take: the next save may be long in coming."""
        self._again_after_s = AGAIN_AFTER_S[0]
        self._logs_ended: Exception | None = None

    def run(self) -> None:
        """Go on until interrupted."""
        turns = changes(self._path)
        self._deploy()
        for changed in turns:
            if changed:
                self._again_after_s = AGAIN_AFTER_S[0]
            if changed or time.monotonic() >= self._again_at:
                self._deploy()
            if self._logs_ended:
                raise self._logs_ended

    def _deploy(self) -> None:
        """Bring what the path holds to the server, also when it is broken: then calls say so, for
        they must never be answered by code that is no longer there."""
        begun = time.perf_counter()
        self._again_at = math.inf
        try:
            package = build(self._path, broken=self._deployments > 0)
            name = self._name = self._name or package.name
            done = put(self._endpoint, self._client, name, package, self._settings)
        except PackageError as error:
            if not (self._deployments or self._path.exists()):
                raise
            _say(f"not deployed: {error}")
            return
        except CommandError as error:
            if not self._deployments:
                raise
            _say(f"not deployed: {error} (tried again in {self._again_after_s:.0f} s)")
            self._again_at = time.monotonic() + self._again_after_s
            self._again_after_s = min(2 * self._again_after_s, AGAIN_AFTER_S[1])
            return
        if done or not self._deployments:
            self._deployments += 1
            took_s = time.perf_counter() - begun
            self._deployed(name, f"{done or 'is up to date'} in {took_s:.2f} s")

    def _deployed(self, name: str, done: str) -> None:
        _say(f"{name} {done}")
        if self._deployments == 1:
            self._follow_logs(name)
            _say(self._how_to_call(name))
        threading.Thread(target=self._try, args=(name, self._deployments), daemon=True).start()

    def _how_to_call(self, name: str) -> str:
        url = self._endpoint.url
        scope = self._endpoint.scope()
        query = "" if scope == {"region": DEFAULT_REGION} else f"?{urlencode(scope)}"
        where = "" if url == DEFAULT_URL else f" --endpoint {url}"
        return (
            f"  call it:  curl {url}/_samovar/url/{quote(name, safe='')}/{query}\n"
            f"            samovar{where} invoke {name}\n"
            f"watching {self._path}; Ctrl-C ends it"
        )

    def _try(self, name: str, deployment: int) -> None:
        path = f"/_samovar/init/{quote(name, safe='')}?{urlencode(self._endpoint.scope())}"
        try:
            with self._endpoint.ask(path, INVOKE_TIMEOUT_S, method="POST") as response:
                answer = json.load(response)
        except (CommandError, OSError, http.client.HTTPException, ValueError) as error:
            if deployment == self._deployments:
                _say(f"{name} does not start: {error}")
            return
        if "skipped" in answer:
            _say(f"{name} was not tried: {answer.get('message')}")

    # ------------------------------------------------------------ the log

    def _follow_logs(self, name: str) -> None:
        """Print from now on what the function prints."""
        following = threading.Event()
        arguments = (name, following)
        threading.Thread(target=self._print_logs, args=arguments, daemon=True).start()
        following.wait()

    def _print_logs(self, name: str, following: threading.Event) -> None:
        scope = urlencode(self._endpoint.scope())
        path = f"/_samovar/logs/{quote(name, safe='')}?{scope}&tail_bytes=0&follow=1"
        try:
            with self._endpoint.ask(path, timeout_s=None) as response:
                following.set()
                while text := response.read1(LOG_CHUNK_BYTES):
                    with self._terminal.turn():
                        sys.stdout.buffer.write(text)
                        sys.stdout.buffer.flush()
            gone = f"{name} was deleted" if _is_ours(self._endpoint) else self._server_gone()
            raise CommandError(gone)
        except http.client.HTTPException as error:
            self._logs_ended = CommandError(f"{self._server_gone()}: {error}")
        except (CommandError, OSError) as error:
            self._logs_ended = error
        finally:
            following.set()

    def _server_gone(self) -> str:
        return f"the server at {self._endpoint.url} has gone"


def _say(text: str) -> None:
    """On stderr: stdout is the function's."""
    print(text, file=sys.stderr, flush=True)
