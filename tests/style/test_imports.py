"""No import cycles, and a start that loads little. Which layer may import which is import-linter's
(pyproject.toml)."""

import subprocess
import sys

import grimp
import pytest


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("samovar", cache_dir=None, exclude_type_checking_imports=True)


def test_no_module_imports_itself_through_others(graph):
    cycles = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            back = graph.find_shortest_chain(importer=imported, imported=module)
            if back:
                cycles.add(" → ".join([module, *back]))
    assert cycles == set()


def test_a_start_loads_nothing_that_only_some_events_need():
    program = "import samovar.wiring, sys; print(*sorted(sys.modules), sep='\\n')"
    run = [sys.executable, "-c", program]
    loaded = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
    heavy = {"aiobotocore", "aiohttp", "aiokafka", "aiormq", "alembic", "botocore", "tzdata"}
    assert heavy.intersection(name.partition(".")[0] for name in loaded) == set()
    assert "sqlalchemy.dialects.postgresql" not in loaded
