"""Text from strangers, made fit for a terminal: what functions say must not move its cursor, set
its title or type into it."""

from __future__ import annotations

KEPT = {"\n": "\n", "\t": "\t"}


def printable(text: str, *, one_line: bool = False) -> str:
    """`text` with everything that a terminal would act on written as an escape. Lines stay lines,
    unless it is to be `one_line`."""
    kept = {} if one_line else KEPT
    return "".join(
        character if character.isprintable() else kept.get(character) or _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
