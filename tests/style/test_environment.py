"""Configuration is read once: `samovar.config` is handed the environment, nothing else looks."""

import ast

from tests.style.sources import dotted, sources

READERS = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv"}
ALLOWED = {
    "src/samovar/config.py": "reads the configuration",
    "src/samovar/cli/up.py": "hands the environment to the configuration",
    "src/samovar/guest/": "runs inside an instance, where the environment is the function's",
}


def test_nothing_but_the_configuration_reads_the_environment():
    readers = [
        f"{source.name}:{node.lineno}"
        for source in sources("src")
        if not source.name.startswith(tuple(ALLOWED))
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Attribute) and dotted(node) in READERS)
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {f"os.{alias.name}" for alias in node.names} & READERS
        )
    ]
    assert readers == []
