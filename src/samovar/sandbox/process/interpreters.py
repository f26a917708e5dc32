"""Which Python runtimes this machine can run, and with what.

How this works. Interpreters are recognised by where they lie, by their name (`python3.11`) and by
being ELF files: nothing is executed, so version managers' shims (scripts that start slowly and
may mean anything) are never taken for one. Debian's come first, for they need nothing mounted
besides /usr; then the one that runs the server; then PATH; then what version managers keep.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_NAME = re.compile(r"python3\.(\d+)")
OLDEST_MINOR = 9

_VERSION_MANAGERS = (
    ".pyenv/versions/*/bin",
    ".local/share/uv/python/cpython-*/bin",
    ".asdf/installs/python/*/bin",
)


def find(search_path: str) -> dict[str, str]:
    """Return runtime (`python3.11`) → interpreter. `search_path` is like PATH."""
    found: dict[str, str] = {}
    home = _home()
    for path in _candidates(search_path, home):
        name = _NAME.fullmatch(path.name)
        if not name or int(name[1]) < OLDEST_MINOR or path.name in found:
            continue
        # A whole prefix is shown to instances: never one that is more than a Python.
        if is_program(path) and Path(prefix(str(path))) not in (Path("/"), home, home / ".local"):
            found[path.name] = str(path.resolve())
    return dict(sorted(found.items(), key=lambda item: _version(item[0])))


def _home() -> Path:
    """Where version managers keep what they install; `/` for a uid that has no name (a container's
    may be any)."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return Path("/")


def prefix(interpreter: str) -> str:
    """Return the directory that an interpreter and its library live in."""
    return str(Path(interpreter).resolve().parent.parent)


def _candidates(search_path: str, home: Path) -> Iterator[Path]:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    yield from sorted(Path("/usr/bin").glob("python3.*"))
    yield Path(sys.base_prefix, "bin", name)
    for directory in search_path.split(os.pathsep):
        if directory:
            yield from sorted(Path(directory).glob("python3.*"))
    for pattern in _VERSION_MANAGERS:
        for newest in sorted(_glob(home, pattern), key=_version_of_installation, reverse=True):
            yield from sorted(newest.glob("python3.*"))


def _glob(home: Path, pattern: str) -> list[Path]:
    try:
        return list(home.glob(pattern))
    except OSError:
        return []


def _version(runtime: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", runtime)]


def _version_of_installation(directory: Path) -> list[int]:
    return _version(directory.parent.name)


def is_program(path: Path) -> bool:
    """Whether it is an executable ELF file."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF" and os.access(path, os.X_OK)
    except OSError:
        return False
