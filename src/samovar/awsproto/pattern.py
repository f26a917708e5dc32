"""Java regular expressions, as Python's `re` understands them.

The models' patterns are written for `java.util.regex.Pattern.matches`: the whole string has to
match. Java differs from `re` in what `.`, `\\d`, `\\s` and `\\w` mean, in `\\p{…}` and in a few
spellings; everything else that the models use is the same in both.

`re` backtracks, so a pattern's cost must be bounded from outside: no string longer than
`MAX_CHARS` is ever matched, and a test runs hostile strings through every pattern of the models.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain

MAX_CHARS = 32 * 1024
"""Longer strings match nothing. The models allow at most 20,480 characters where a pattern is."""

LINE_TERMINATORS = "\\n\\r\\x85\\u2028\\u2029"
"""What Java's `.` does not match."""

ASSIGNED_PLANES = (range(0x40000), range(0xE0000, 0xE1000))
"""Where Unicode has characters. The rest is unassigned or for private use: category C."""

TOKEN = re.compile(
    r"\\p\{\w+\}|\\P\{\w+\}|\\z|\\Z|\\.|\(\?<(?=[A-Za-z])|[\[\].]|[^\\\[\].(]+|\(", re.S
)
SPELLINGS = {"\\z": "\\Z", "\\Z": "(?=\\n?\\Z)", "(?<": "(?P<"}


def matches(pattern: str, text: str) -> bool:
    """Return whether the whole of `text` matches a Java `pattern`, as `Pattern.matches` has it."""
    return len(text) <= MAX_CHARS and compiled(pattern).fullmatch(text) is not None


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a Java pattern; patterns come from models alone, so the cache is bounded."""
    # ASCII: Java's \d, \s and \w know no other characters unless told to.
    return re.compile(translate(pattern), re.ASCII)


def translate(pattern: str) -> str:
    """Return the Python spelling of a Java pattern."""
    parts: list[str] = []
    class_depth = 0
    for match in TOKEN.finditer(pattern):
        piece = match.group()
        if piece == "[" and class_depth == 0:
            class_depth = 1
        elif piece == "[":
            piece = "\\["
        elif piece == "]" and class_depth:
            class_depth = 0
        elif piece == "." and not class_depth:
            piece = f"[^{LINE_TERMINATORS}]"
        elif piece.startswith(("\\p{", "\\P{")):
            ranges = category_ranges(piece[3:-1])
            if class_depth and piece[1] == "P":
                raise ValueError(f"negated category within a class: {pattern}")
            piece = ranges if class_depth else f"[{'^' if piece[1] == 'P' else ''}{ranges}]"
        else:
            piece = SPELLINGS.get(piece, piece)
        parts.append(piece)
    return "".join(parts)


@cache
def category_ranges(category: str) -> str:
    """Return the characters of a Unicode category (`L`, `Lu`, …) as the inside of a class."""
    if category in {"Cn", "Co"}:
        raise ValueError("unassigned and private characters are told apart by no model")
    code_points, letters, details = categories()
    wanted = re.compile(re.escape(category[0]) + "+")
    runs = [match.span() for match in wanted.finditer(letters)]
    if len(category) > 1:
        runs = [
            (start + inner.start(), start + inner.end())
            for start, end in runs
            for inner in re.finditer(re.escape(category[1]) + "+", details[start:end])
        ]
    # No run but one of unassigned characters reaches from one plane into another, for a plane's
    # last two code points never are characters; and what is in between is unassigned as well.
    parts = [f"\\U{code_points[a]:08x}-\\U{code_points[b - 1]:08x}" for a, b in runs]
    if category == "C":
        parts += ["\\U00040000-\\U000dffff", "\\U000e1000-\\U0010ffff"]
    return "".join(parts)


@cache
def categories() -> tuple[list[int], str, str]:
    """Return the code points that may be characters, and the two letters of their categories."""
    code_points = list(chain.from_iterable(ASSIGNED_PLANES))
    names = "".join(map(unicodedata.category, map(chr, code_points)))
    return code_points, names[::2], names[1::2]
