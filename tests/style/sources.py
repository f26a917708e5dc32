"""The project's own files, parsed once for all style tests."""

from __future__ import annotations

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "samovar"


@dataclass(frozen=True)
class Source:
    """A Python file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """As an editor opens it from the project's root."""
        return self.path.relative_to(ROOT).as_posix()


@functools.cache
def sources(*folders: str) -> tuple[Source, ...]:
    """Every Python file under these folders of the project, or under all that hold code."""
    found = []
    for folder in folders or ("src", "tests", "benchmarks", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            found.append(Source(path, text, ast.parse(text, str(path))))
    return tuple(found)


def dotted(node: ast.expr) -> str:
    """`a.b.c` as text; empty where the expression is not such a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return ""
