"""The runtime of Python functions that are programs of their own: see `guest.python_runtime`."""

import importlib.util
import os
import sys

# Read-only, or shared between instances where there is no mount namespace.
sys.dont_write_bytecode = True


def _add_package() -> None:
    """Make `samovar` known, without its folder on the search path: functions look there too."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    beside = os.path.join(here, "samovar")  # in an instance's own root
    folder = beside if os.path.isdir(beside) else os.path.dirname(os.path.dirname(here))
    spec = importlib.util.spec_from_file_location(
        "samovar", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec
    assert spec.loader
    sys.modules["samovar"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


_add_package()
from samovar.guest.python_runtime import main  # noqa: E402

main()
