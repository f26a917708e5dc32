"""A real PostgreSQL, started by the tests for themselves: as a user that is not root (it refuses to
run as that), on a UNIX socket that nobody else can reach."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

DEBIAN = Path("/usr/lib/postgresql")
START_DEADLINE_S = 60
STOP_DEADLINE_S = 60
UNPRIVILEGED = ("postgres", "nobody")

SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",  # it need not survive a power cut, only be fast
    "shared_buffers": "16MB",
    "max_connections": "60",
}


def programs() -> Path | None:
    """The folder with `initdb` and `postgres`; None where there is none."""
    newest_first = sorted(
        (path.parent for path in DEBIAN.glob("*/bin/initdb")),
        key=lambda folder: int(folder.parent.name),
        reverse=True,
    )
    on_path = shutil.which("initdb")
    return next(iter(newest_first), Path(on_path).resolve().parent if on_path else None)


class PostgreSQL:
    """A running server. `url` of a database of its own is what `Database.open` takes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The URL of an empty database, for a block."""
        name = f"samovar_{next(self._numbers)}"
        self._order(f"CREATE DATABASE {name}")
        try:
            yield f"postgresql+psycopg://samovar@/{name}?host={self._folder}"
        finally:
            self._order(f"DROP DATABASE {name} WITH (FORCE)")

    def _order(self, statement: str) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute(statement)

    @property
    def _conninfo(self) -> str:
        return f"host={self._folder} user=samovar dbname=postgres"

    def await_ready(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Return when it takes connections."""
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            ended = process.poll() is not None
            assert not ended and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._conninfo).close()
        except psycopg.OperationalError:
            return False
        return True


@contextlib.contextmanager
def running_postgresql(programs: Path) -> Iterator[PostgreSQL]:
    """A server for one block; nothing of it is left afterwards."""
    as_user = _as_user()
    # Not below pytest's folder: that is for root alone.
    with tempfile.TemporaryDirectory(prefix="samovar-pg-") as made:
        folder = Path(made)
        if as_user:
            shutil.chown(folder, _user())
        data, log = folder / "data", folder / "log"
        # The names that databases sort by have to be ours, whatever the locale: so an unlike one.
        locale = ("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
        options = (f"--pgdata={data}", "--username=samovar", "--auth=trust", "--no-sync")
        subprocess.run(
            [*as_user, programs / "initdb", *options, "--encoding=UTF8", *locale],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*as_user, programs / "postgres", "-D", data, "-k", folder, *settings],
                stdout=output,
                stderr=output,
                cwd=folder,
            )
        try:
            server = PostgreSQL(folder)
            server.await_ready(process, log)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # its "fast" shutdown
            process.wait(STOP_DEADLINE_S)


def _as_user() -> Sequence[str]:
    """What makes a command run as somebody else than root, and end with us."""
    if os.geteuid() != 0:
        return ()
    user = pwd.getpwnam(_user())
    who = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ("setpriv", *who, "--pdeathsig=INT")


def _user() -> str:
    known = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in UNPRIVILEGED if name in known)
