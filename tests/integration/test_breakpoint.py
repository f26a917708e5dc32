"""breakpoint() of a function, in a real terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server import SAMOVAR, clean_environment

DEADLINE_S = 60
SOURCE = """
def handler(event, context):
    print("printed before")
    sum = 40
    breakpoint()
    sum += 2
    print("printed within")
    return sum
"""


class Screen:
    """A terminal with `samovar dev` in it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._ours, self.terminal = pty.openpty()
        self.shown = ""
        self._seen = 0
        self.process = subprocess.Popen(
            [str(SAMOVAR), "dev", *arguments],
            cwd=folder,
            env=clean_environment(),
            stdin=self.terminal,
            stdout=self.terminal,
            stderr=self.terminal,
            start_new_session=True,
        )

    def until(self, text: str) -> str:
        """What is shown up to the next occurrence of this; fails where there comes none."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.shown[self._seen :]:
            left_s = max(0, deadline - time.monotonic())
            if not select.select([self._ours], [], [], left_s)[0]:
                raise AssertionError(f"no {text!r} in: {self.shown}")
            self.shown += os.read(self._ours, 65536).decode().replace("\r\n", "\n")
        end = self.shown.index(text, self._seen) + len(text)
        found, self._seen = self.shown[self._seen : end], end
        return found

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.terminal)
        os.close(self._ours)


@pytest.fixture
def screen(tmp_path: Path, needs_wiring: None) -> Iterator[Screen]:
    (tmp_path / "app.py").write_text(SOURCE)
    screen = Screen(tmp_path, "app.py", "--isolation", "none", "--port", "0")
    yield screen
    screen.close()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def call(url: str) -> bytes:
    """The answer; nothing where there is an error."""
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        error.close()
        return b""
    except OSError:
        return b""
    return body


def url_shown(screen: Screen) -> str:
    screen.until("curl ")
    return screen.until("\n").strip()


def test_a_breakpoint_is_a_prompt_in_the_terminal(screen, callers):
    url = url_shown(screen)
    answer = callers.submit(call, f"{url}?tea=green")
    screen.until("(Pdb) ")
    screen.type("p event['queryStrin\x7f\x7fingParameters']\n")  # with a slip, taken back
    screen.until("{'tea': 'green'}\n(Pdb) ")
    screen.type("\x1b[A\n")  # the line before
    screen.until("{'tea': 'green'}\n(Pdb) ")
    screen.type("sum = 50\n")
    screen.until("(Pdb) ")
    stepped = ""
    while "-> return sum\n" not in stepped:
        screen.type("n\n")
        stepped += screen.until("(Pdb) ")
    assert "\nprinted within\n" in stepped
    screen.type("c\n")
    assert answer.result(DEADLINE_S) == b"52"
    screen.until("REPORT RequestId")
    assert "START RequestId" in screen.shown
    assert "printed before" in screen.shown


def test_one_instance_speaks_at_a_time_and_the_log_waits(screen, callers):
    url = url_shown(screen)
    answers = [callers.submit(call, url) for _ in range(3)]
    for _ in answers:
        screen.until("(Pdb) ")
        screen.type("p 'first'\n")
        said = screen.until("'first'\n(Pdb) ")
        assert said == "p 'first'\n'first'\n(Pdb) "
        screen.type("c\n")
    assert [answer.result(DEADLINE_S) for answer in answers] == [b"42"] * 3


def test_who_steps_past_the_end_leaves_the_next_invocation_alone(screen, callers):
    url = url_shown(screen)
    answer = callers.submit(call, url)
    while "--Return--" not in screen.until("(Pdb) "):
        screen.type("n\n")
    screen.type("n\n")
    assert answer.result(DEADLINE_S) == b"42"
    answer = callers.submit(call, url)
    assert "handler()" in screen.until("(Pdb) ")
    screen.type("q\n")
    assert answer.result(DEADLINE_S) == b""
    screen.until("BdbQuit")


def test_the_terminal_is_as_before_when_it_ends_at_a_prompt(screen, callers):
    before = termios.tcgetattr(screen.terminal)
    answer = callers.submit(call, url_shown(screen))
    screen.until("(Pdb) ")
    screen.process.send_signal(2)
    assert screen.process.wait(DEADLINE_S) == 0
    assert termios.tcgetattr(screen.terminal) == before
    assert answer.result(DEADLINE_S) == b""
