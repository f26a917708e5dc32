"""Small pieces: a file, a function or a class over its limit is split, not excused."""

import ast

from tests.style.sources import sources

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
MAX_PUBLIC_METHODS = 20


def test_no_file_is_longer_than_400_lines():
    lengths = {source.name: len(source.text.splitlines()) for source in sources()}
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_70_lines():
    long = {
        f"{source.name}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    }
    assert long == {}


def test_no_class_has_more_than_20_public_methods():
    wide = {}
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                public = [
                    item.name
                    for item in node.body
                    if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not item.name.startswith("_")
                ]
                if len(public) > MAX_PUBLIC_METHODS:
                    wide[f"{source.name}:{node.lineno} {node.name}"] = len(public)
    assert wide == {}
