"""Deploys the functions of `examples/` when the server starts, through the operations that any
client uses."""

from __future__ import annotations

from pathlib import Path

import samovar
from samovar.cli.package import Package, build
from samovar.frontend.auth import DEFAULT_ACCOUNT, Caller
from samovar.frontend.operations import handlers
from samovar.frontend.operations.control import Control
from samovar.model.errors import ErrorCode, PlatformError

FIRST = "hello"
ROLE = f"arn:aws:iam::{DEFAULT_ACCOUNT}:role/samovar-example"
"""Marks what was deployed here: a function of the same name with another role is left alone."""
CALLER = Caller(DEFAULT_ACCOUNT, "us-east-1")


def examples_dir() -> Path | None:
    """Where the examples are: beside the sources. None in an installation without them."""
    found = Path(samovar.__file__).parents[2] / "examples"
    return found if (found / FIRST).is_dir() else None


async def deploy_examples(control: Control) -> str | None:
    """Create or update each example; return the name of the one to show, or None."""
    directory = examples_dir()
    runtime = _newest(control.runtimes)
    if directory is None or runtime is None:
        return None
    for path in sorted(directory.iterdir()):
        if (path / "app.py").is_file():
            await _deploy(control, build(path), runtime)
    return FIRST


async def _deploy(control: Control, package: Package, runtime: str) -> None:
    operations = handlers(control)
    name = {"FunctionName": package.name}
    try:
        existing = await operations["GetFunctionConfiguration"](CALLER, name)
    except PlatformError as error:
        if error.code is not ErrorCode.NOT_FOUND:
            raise
        settings = {"Runtime": runtime, "Handler": package.handler, "Role": ROLE}
        code = {"Code": {"ZipFile": package.zip_bytes}}
        await operations["CreateFunction"](CALLER, {**name, **settings, **code})
        return
    if existing["Role"] != ROLE:
        return  # somebody's own function of that name
    if existing["CodeSha256"] != package.code_sha256:
        await operations["UpdateFunctionCode"](CALLER, {**name, "ZipFile": package.zip_bytes})


def _newest(runtimes: frozenset[str]) -> str | None:
    """python3.11 where there is one: the runtime that Debian's own interpreter gives."""
    pythons = [name for name in runtimes if name.startswith("python3.")]
    if "python3.11" in pythons:
        return "python3.11"
    return max(pythons, key=lambda name: int(name.removeprefix("python3.")), default=None)
