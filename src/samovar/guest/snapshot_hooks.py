"""`snapshot_restore_py`: what a function registers to be run around a snapshot.

AWS's Python runtimes bring this package along, so a function may import it without having it. Here
it is found last: a function that has its own gets that.
https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

NAME = "snapshot_restore_py"

Hook = "tuple[Callable[..., object], tuple[object, ...], dict[str, object]]"


class _Package(Loader):
    """Our own."""

    def exec_module(self, module: ModuleType) -> None:
        before: list[Any] = []
        after: list[Any] = []

        def register_before_snapshot(
            func: Callable[..., Any], *args: object, **kwargs: object
        ) -> Callable[..., Any]:
            """Run `func` before the snapshot is taken; the last that was registered first."""
            before.append((func, args, kwargs))
            return func

        def register_after_restore(
            func: Callable[..., Any], *args: object, **kwargs: object
        ) -> Callable[..., Any]:
            """Run `func` in each instance that begins from the snapshot."""
            after.append((func, args, kwargs))
            return func

        module.__dict__.update(
            register_before_snapshot=register_before_snapshot,
            register_after_restore=register_after_restore,
            get_before_snapshot=lambda: before,
            get_after_restore=lambda: after,
        )


class _LastFinder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(NAME, _Package()) if fullname == NAME else None


def offer() -> None:
    """Have the package found, from now on, where there is no other."""
    sys.meta_path.append(_LastFinder())


def run_before_snapshot() -> None:
    """Run what was registered, in reverse order. Raises what it raises."""
    hooks = _registered("get_before_snapshot")
    while hooks:
        func, args, kwargs = hooks.pop()
        func(*args, **kwargs)


def run_after_restore() -> None:
    """Run what was registered, in order. Raises what it raises."""
    for func, args, kwargs in _registered("get_after_restore"):
        func(*args, **kwargs)


def _registered(name: str) -> Any:
    module = sys.modules.get(NAME)
    return getattr(module, name)() if module is not None else []
