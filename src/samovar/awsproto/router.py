"""From a request's method, path and query to its operation.

How this works. The URI templates of a model are a tree of path segments; below each node are the
literal segments, one label (`{Name}`: any one segment) and one greedy label (`{Name+}`: one
segment or more). A look-up tries them in this order and goes back where a branch leads nowhere, so
the most literal template wins. At the end of a path, templates with a fixed query (`?List=ALL`)
come before those without.

Segments are split before they are decoded: a label may hold an ARN with encoded slashes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from samovar.awsproto.operation import Match, Operation

MAX_PATH_CHARS = 8 * 1024
"""Longer paths match nothing; the longest label of the models is 2,048 characters."""

Query = Mapping[str, Sequence[str]]


@dataclass(slots=True)
class _Route:
    operation: Operation
    labels: tuple[str, ...]
    query: tuple[tuple[str, str], ...]

    def accepts(self, query: Query) -> bool:
        return all(value in query.get(name, ()) for name, value in self.query)


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    label: _Node | None = None
    greedy: _Node | None = None
    routes: dict[str, list[_Route]] = field(default_factory=dict)
    """Method → routes that end here, those with most fixed query first."""


class Router:
    """The routes of one service."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._root = _Node()
        for operation in operations:
            self._add(operation)

    def route(self, method: str, path: str, query: Query) -> Match | None:
        """Return the operation of a request and its labels, or None where there is none.

        `path` is as it came, percent-encoded; the values of `query` are decoded. One slash at the
        end of a path means nothing: SDKs of some years ago send it.
        """
        if len(path) > MAX_PATH_CHARS or not path.startswith("/"):
            return None
        raw = path[1:].removesuffix("/").split("/")
        segments = [unquote(segment) if "%" in segment else segment for segment in raw]
        return self._find(self._root, segments, 0, [], method, query)

    def _find(
        self,
        node: _Node,
        segments: list[str],
        index: int,
        values: list[str],
        method: str,
        query: Query,
    ) -> Match | None:
        if index == len(segments):
            for route in node.routes.get(method, ()):
                if route.accepts(query):
                    return Match(route.operation, dict(zip(route.labels, values, strict=True)))
            return None
        segment = segments[index]
        child = node.literals.get(segment)
        if child is not None:
            match = self._find(child, segments, index + 1, values, method, query)
            if match is not None:
                return match
        if node.label is not None and segment:
            match = self._find(node.label, segments, index + 1, [*values, segment], method, query)
            if match is not None:
                return match
        if node.greedy is not None and segment:
            # Templates that go on after the label are more literal than the one that ends with it.
            for end in (*range(len(segments) - 1, index, -1), len(segments)):
                label = "/".join(segments[index:end])
                match = self._find(node.greedy, segments, end, [*values, label], method, query)
                if match is not None:
                    return match
        return None

    def _add(self, operation: Operation) -> None:
        path, _, query = operation.uri.partition("?")
        node, labels = self._root, []
        for segment in path.strip("/").split("/"):
            if not segment.startswith("{"):
                node = node.literals.setdefault(segment, _Node())
                continue
            label = segment[1:-1]
            if label.endswith("+"):
                node.greedy = node.greedy or _Node()
                node = node.greedy
            else:
                node.label = node.label or _Node()
                node = node.label
            labels.append(label.removesuffix("+"))
        fixed = tuple(parse_qsl(query, keep_blank_values=True))
        routes = node.routes.setdefault(operation.method, [])
        routes.append(_Route(operation, tuple(labels), fixed))
        routes.sort(key=lambda route: -len(route.query))
