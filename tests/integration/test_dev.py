"""`samovar dev`: real files, real servers, a real terminal."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aws.functions import package
from tests.middleman import Middleman
from tests.server import SAMOVAR, Server, clean_environment, running

DEADLINE_S = 60
WATCHING = "Ctrl-C ends it"


class Dev:
    """One `samovar dev` in a process of its own, and what it says."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        self._process = subprocess.Popen(
            [str(SAMOVAR), "dev", *arguments],
            cwd=folder,
            env=clean_environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def until(self, text: str) -> str:
        """The next line with this in it; fails where none comes in time."""
        while True:
            try:
                line = self._lines.get(timeout=DEADLINE_S)
            except queue.Empty:
                raise AssertionError(f"no {text!r} in time: {self.said}") from None
            self.said.append(line)
            if text in line:
                return line
            if not line:
                raise AssertionError(f"ended before {text!r}: {self.said}")

    def url(self) -> str:
        """Of the function, once it is deployed."""
        found = re.search(r"http://\S+", self.until("curl"))
        assert found
        return found[0]

    def end(self, number: int = signal.SIGINT) -> int:
        """Signal it, and return its exit status."""
        self._process.send_signal(number)
        return self.status()

    def status(self) -> int:
        """Its exit status, when it has ended."""
        status = self._process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status

    def close(self) -> None:
        """What a failing test leaves."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(DEADLINE_S)
        if self._process.stdout:
            self._process.stdout.close()


@pytest.fixture
def dev(tmp_path: Path, needs_wiring: None) -> Iterator[object]:
    """Starts `samovar dev …` in the test's folder."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **env: str) -> Dev:
            started = Dev(tmp_path, *arguments, **env)
            stack.callback(started.close)
            return started

        yield start


@pytest.fixture
def on_server(dev, server: Server):
    """The same, on the tests' server."""
    return lambda *arguments: dev(*arguments, SAMOVAR_ENDPOINT=server.endpoint)


def answering(value: object) -> str:
    return f"def handler(event, context):\n    return {value!r}\n"


def app(folder: Path, source: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(source)
    return folder


def call(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        body: bytes = answer.read()
    return body


def status_of(url: str) -> int:
    try:
        call(url)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    return 200


def test_it_starts_a_server_where_none_runs_and_takes_it_along(dev, tmp_path):
    app(tmp_path / "shop", answering(1))
    working = dev("shop", "--port", "0")
    url = working.url()
    assert call(url) == b"1"
    assert (tmp_path / ".samovar" / "samovar.db").exists()
    assert working.end(signal.SIGINT) == 0
    with pytest.raises(urllib.error.URLError):
        call(url)


def test_two_of_them_in_one_folder_do_not_share_a_server_of_their_own(dev, tmp_path):
    urls = []
    for number in (1, 2):
        app(tmp_path / f"shop{number}", answering(number))
        urls.append(dev(f"shop{number}", "--port", "0").url())
    assert [call(url) for url in urls] == [b"1", b"2"]


def test_two_that_start_at_once_each_get_a_server(dev, tmp_path):
    for number in (1, 2):
        app(tmp_path / f"shop{number}", answering(number))
    both = [dev(f"shop{number}", "--isolation", "none") for number in (1, 2)]
    assert [call(working.url()) for working in both] == [b"1", b"2"]


def test_a_data_directory_that_cannot_be_is_said_in_one_line(dev, tmp_path):
    (tmp_path / ".samovar").write_text("")
    app(tmp_path / "shop", answering(1))
    working = dev("shop", "--isolation", "none")
    assert "the data directory .samovar cannot be used" in working.until("error: ")
    assert working.status() == 1


def test_its_server_ends_also_when_it_is_killed(dev, tmp_path):
    app(tmp_path / "shop", answering(1))
    working = dev("shop", "--port", "0")
    working.until(WATCHING)
    working.close()
    with running(tmp_path / ".samovar"):  # which takes the place of one that has ended only
        pass


def test_what_is_saved_serves_and_the_function_stays(on_server, tmp_path, lambda_client):
    folder = app(tmp_path / "dev-saved", answering("old"))
    working = on_server("dev-saved")
    url = working.url()
    assert call(url) == b'"old"'
    app(folder, answering("new"))
    working.until("updated (code)")
    assert call(url) == b'"new"'
    assert working.end(signal.SIGTERM) == 0
    assert call(url) == b'"new"'
    lambda_client.delete_function(FunctionName="dev-saved")


def test_a_single_file_is_watched_too_however_it_is_saved(on_server, tmp_path, lambda_client):
    path = tmp_path / "dev_file.py"
    path.write_text(answering(0))
    working = on_server("dev_file.py")
    url = working.url()
    other = tmp_path / "dev_file.py~new"
    other.write_text(answering(1))
    other.rename(path)
    working.until("updated (code)")
    assert call(url) == b"1"
    path.unlink()
    path.write_text(answering(2))
    working.until("updated (code)")
    assert call(url) == b"2"
    lambda_client.delete_function(FunctionName="dev_file")


def test_many_files_at_once_are_one_deployment_and_leftovers_are_none(
    on_server, tmp_path, lambda_client
):
    folder = app(tmp_path / "dev-many", answering(0))
    working = on_server("dev-many")
    url = working.url()
    for folder_of_no_code in (".git", "__pycache__"):
        app(folder / folder_of_no_code, "x")
    (folder / ".app.py.swp").write_text("x")
    (folder / ".#app.py").symlink_to("somebody@somewhere.1234")
    staged = tmp_path / "staged"
    for number in range(200):
        app(staged, answering(1))
        (staged / f"module{number}.py").write_text("")
    for path in staged.iterdir():
        path.replace(folder / path.name)
    working.until("updated (code)")
    app(folder, "handler = lambda event, context: 2\n")
    working.until("updated (code)")
    assert "".join(working.said).count("updated") == 2
    assert call(url) == b"2"
    lambda_client.delete_function(FunctionName="dev-many")


def test_broken_code_says_so_at_once_until_it_is_mended(on_server, tmp_path, lambda_client):
    folder = app(tmp_path / "dev-broken", "def handler(:\n")
    working = on_server("dev-broken")
    assert "app.py, line 1 is not valid Python" in working.until("not deployed")
    app(folder, answering(1))
    url = working.url()
    app(folder, "def handler(event, context):\n    return (\n")
    working.until("[ERROR] Runtime.UserCodeSyntaxError")
    working.until("dev-broken does not start: Syntax error in module 'app'")
    assert status_of(url) == 502
    app(folder, "import nothing_of_that_name\n")
    working.until("does not start: Unable to import module 'app'")
    app(folder, answering(2))
    working.until("updated (code)")
    assert call(url) == b"2"
    lambda_client.delete_function(FunctionName="dev-broken")


def test_the_log_comes_whole(on_server, tmp_path, lambda_client):
    source = (
        "def handler(e, c):\n    for n in range(500): print(f'line {n:03}')\n    print('last')\n"
    )
    app(tmp_path / "dev-log", source)
    working = on_server("dev-log")
    url = working.url()
    for _ in range(3):
        call(url)
        working.until("REPORT")
    printed = "".join(working.said)
    assert re.findall(r"line (\d+)", printed) == [f"{n:03}" for n in range(500)] * 3
    lambda_client.delete_function(FunctionName="dev-log")


def test_flags_are_the_functions_configuration(on_server, tmp_path, lambda_client):
    (tmp_path / "dev-flags").mkdir()
    (tmp_path / "dev-flags" / "other.py").write_text("def serve(event, context): return 1\n")
    flags = ["--handler", "other.serve", "--memory", "192", "--timeout", "7", "--env", "TEA=green"]
    working = on_server("dev-flags", *flags)
    assert call(working.url()) == b"1"
    got = lambda_client.get_function_configuration(FunctionName="dev-flags")
    assert (got["MemorySize"], got["Timeout"], got["Handler"]) == (192, 7, "other.serve")
    assert got["Environment"]["Variables"] == {"TEA": "green"}
    lambda_client.delete_function(FunctionName="dev-flags")


def test_what_saving_again_cannot_mend_ends_it(dev, on_server, server, tmp_path, lambda_client):
    folder = app(tmp_path / "dev-ends", answering(1))
    assert on_server("dev-ends", "--timeout", "5000").status() == 1
    assert on_server("nothing-there").status() == 2
    working = on_server("dev-ends")
    working.until(WATCHING)
    shutil.rmtree(folder)
    assert "is gone" in working.until("error: ")
    assert working.status() == 1
    both = dev("dev-ends", "--isolation", "none", SAMOVAR_ENDPOINT=server.endpoint)
    assert "own" in both.until("error: ")
    assert both.status() == 2
    lambda_client.delete_function(FunctionName="dev-ends")


@pytest.fixture
def middleman(server: Server) -> Iterator[Middleman]:
    with Middleman(server.endpoint) as between:
        threading.Thread(target=between.serve_forever, daemon=True).start()
        yield between
        between.shutdown()


def test_what_the_server_did_not_take_is_tried_again(dev, middleman, tmp_path, lambda_client):
    folder = app(tmp_path / "dev-again", answering("old"))
    address = f"http://127.0.0.1:{middleman.server_address[1]}"
    working = dev("dev-again", SAMOVAR_ENDPOINT=address)
    working.until(WATCHING)
    middleman.refusing = True
    app(folder, answering("new"))
    working.until("not deployed")
    middleman.refusing = False
    working.until("updated (code)")
    answer = lambda_client.invoke(FunctionName="dev-again")
    assert answer["Payload"].read() == b'"new"'
    working.close()
    lambda_client.delete_function(FunctionName="dev-again")


def test_it_ends_when_the_function_is_deleted(on_server, tmp_path, lambda_client):
    app(tmp_path / "dev-deleted", answering(1))
    working = on_server("dev-deleted")
    working.until(WATCHING)
    lambda_client.delete_function(FunctionName="dev-deleted")
    working.until("error: dev-deleted was deleted")
    assert working.status() == 1


def test_it_says_that_a_function_with_tenants_is_not_tried(on_server, tmp_path, lambda_client):
    app(tmp_path / "dev-tenants", answering(1))
    lambda_client.create_function(
        FunctionName="dev-tenants",
        Runtime="python3.11",
        Role="arn:aws:iam::000000000000:role/r",
        Handler="app.handler",
        Code={"ZipFile": package({"app.py": answering(0)})},
        TenancyConfig={"TenantIsolationMode": "PER_TENANT"},
    )
    on_server("dev-tenants").until("dev-tenants was not tried: Its instances are its tenants'")
    lambda_client.delete_function(FunctionName="dev-tenants")


def test_it_says_when_the_server_has_gone(dev, tmp_path):
    app(tmp_path / "shop", answering(1))
    with running(tmp_path / "data", "--no-examples") as server:
        working = dev("shop", SAMOVAR_ENDPOINT=server.endpoint)
        working.until(WATCHING)
        server.kill()
    working.until("has gone")
    assert working.status() == 1
    assert dev("shop", SAMOVAR_ENDPOINT=server.endpoint).status() == 2


def test_a_folder_that_is_put_in_the_place_of_another_is_watched(
    on_server, tmp_path, lambda_client
):
    folder = app(tmp_path / "dev-swap", answering(1))
    working = on_server("dev-swap")
    url = working.url()
    folder.rename(tmp_path / "before")
    app(tmp_path / "after", answering(2)).rename(folder)
    working.until("updated (code)")
    app(folder, answering(3))
    working.until("updated (code)")
    assert call(url) == b"3"
    lambda_client.delete_function(FunctionName="dev-swap")


def test_the_servers_own_flags_are_for_the_programs_that_start_it():
    shown = subprocess.run(
        [str(SAMOVAR), "up", "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "--terminal" not in shown
    refused = subprocess.run(
        [str(SAMOVAR), "up", "--terminal", os.devnull],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "needs isolation none" in refused.stderr
