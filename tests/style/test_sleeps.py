"""No bare sleeps: code and tests wait for conditions, with a deadline."""

import ast

from tests.style.sources import calls, sources

SLEEPS = {"time.sleep", "asyncio.sleep", "sleep"}
ALLOWED: dict[str, str] = {}
"""File, or file:function → why a fixed pause is right there."""


def _is_pause(call: ast.Call) -> bool:
    """Whether it sleeps a fixed time. `asyncio.sleep(0)` only lets others run."""
    if not call.args:
        return True
    length = call.args[0]
    return isinstance(length, ast.Constant) and length.value != 0


def test_nothing_sleeps_a_fixed_time():
    pauses = [
        f"{source.name}:{call.lineno}"
        for source in sources("src", "tests")
        for name, call in calls(source)
        if name in SLEEPS and _is_pause(call) and source.name not in ALLOWED
    ]
    assert pauses == []
