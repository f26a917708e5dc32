"""One noun a module: a name that could hold anything ends up holding everything."""

from tests.style.sources import sources

FORBIDDEN = {"utils", "util", "helpers", "helper", "common", "base", "misc", "shared", "stuff"}


def test_no_module_has_a_name_that_says_nothing():
    vague = [
        source.name
        for source in sources()
        if FORBIDDEN & {source.path.stem, source.path.parent.name}
        or source.path.stem.endswith(("_utils", "_helpers", "_common"))
    ]
    assert vague == []


def test_every_module_of_the_product_says_what_it_is_for():
    import ast

    silent = [
        source.name
        for source in sources("src")
        if source.text.strip() and not ast.get_docstring(source.tree)
    ]
    assert silent == []
