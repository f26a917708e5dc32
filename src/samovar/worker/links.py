"""Symbolic links in a tree of files from strangers: whether all of them stay inside."""

from __future__ import annotations

from collections.abc import Mapping

MAX_DEPTH = 64
"""Of directories in a package."""
MAX_LINK_HOPS = 40
"""As the kernel has it: more is ELOOP."""
MAX_LINK_STEPS = 1_000_000
"""Path components looked at while following all links: bounds the time that takes."""


class LinkError(Exception):
    """A symbolic link leads out of its tree, or nowhere within bounds."""


def check_links(links: Mapping[str, str]) -> None:
    """Refuse links (relative path → target) that lead out of their tree: raises `LinkError`."""
    steps = MAX_LINK_STEPS
    for path in links:
        steps -= _follow(links, path, steps)


def _follow(links: Mapping[str, str], path: str, max_steps: int) -> int:
    """Follow a link as the kernel would, through other links; refuse it if it ever leaves.

    A target that is not there is no harm: it cannot be outside. Returns the steps it took."""
    here = path.split("/")[:-1]
    todo = links[path].split("/")[::-1]
    hops, steps = 1, 0
    while todo:
        part = todo.pop()
        steps += 1
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                raise LinkError(f"the link {path!r} leads out of the package")
            here.pop()
            continue
        here.append(part)
        onward = links.get("/".join(here))
        if onward is not None:
            hops += 1
            here.pop()
            todo.extend(onward.split("/")[::-1])
        if hops > MAX_LINK_HOPS or len(here) > MAX_DEPTH or steps > max_steps:
            raise LinkError(f"the link {path!r} goes too far, or round in circles")
    return steps
