"""The commands that the documents show, with what they print.

A block that is fenced as ```console run``` is run as one shell session, line by line:

    $ command          a command; it goes on in lines that begin with `> `
    output             what it prints, stdout and stderr together; … stands for anything

The session's folder is empty but for `examples`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^```console run\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """One command and the output that the document shows for it."""

    command: str
    output: str

    @property
    def pattern(self) -> str:
        """The output as a regular expression."""
        lines = [
            ".*".join(map(re.escape, line.split("…"))) if line != "…" else "(?s:.*)"
            for line in self.output.splitlines()
        ]
        return r"\n".join(lines) + r"\s*"


def sessions(document: Path) -> list[list[Step]]:
    """The runnable blocks of a document, each a list of steps."""
    return [_steps(block) for block in FENCE.findall(document.read_text())]


def _steps(block: str) -> list[Step]:
    steps: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line[2:], ""))
        elif line == ">" or line.startswith("> "):
            last = steps.pop()
            steps.append(Step(f"{last.command}\n{line[2:]}", last.output))
        else:
            last = steps.pop()
            steps.append(Step(last.command, f"{last.output}{line}\n"))
    return steps
