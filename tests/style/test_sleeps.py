"""No bare sleeps: code and tests wait for conditions, with a deadline.

A sleep of a fixed time is allowed as the pause of a poll: inside a `while` on a condition, and of
a tenth of a second at most.
"""

import ast
from collections.abc import Iterator

from tests.style.sources import dotted, sources

SLEEPS = {"time.sleep", "asyncio.sleep", "sleep"}
MAX_POLL_S = 0.1
ALLOWED: dict[str, str] = {}
"""File → why a fixed pause is right there."""


def fixed_pauses(node: ast.AST, polling: bool = False) -> Iterator[ast.AST]:
    """The calls below `node` that sleep a fixed time without being a poll's pause."""
    length = _fixed_length(node)
    if length and not (polling and length <= MAX_POLL_S):
        yield node
    if isinstance(node, ast.While):
        polling = not isinstance(node.test, ast.Constant)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        polling = False
    for child in ast.iter_child_nodes(node):
        yield from fixed_pauses(child, polling)


def _fixed_length(node: ast.AST) -> float:
    """How long it sleeps, if it is a sleep of a fixed time; else 0."""
    is_sleep = isinstance(node, ast.Call) and dotted(node.func) in SLEEPS and node.args
    if is_sleep and isinstance(node.args[0], ast.Constant):
        return node.args[0].value
    return 0


def test_nothing_sleeps_a_fixed_time():
    pauses = [
        f"{source.name}:{call.lineno}"
        for source in sources("src", "tests")
        if source.name not in ALLOWED
        for call in fixed_pauses(source.tree)
    ]
    assert pauses == []
