"""What an unpacked tree brings that decides how its functions run.

A tree never changes, and may be a stranger's with as many entries as a package can have: so it is
looked at once, in the thread that has made it, and `code_cache` keeps the answer.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from samovar.model.web import ADAPTER_FILES

_MAX_LOOKED_AT = 10_000
"""Of a directory's entries. Where there are more, one of them counts as what is looked for: a
function runs beside a bridge then that need not, which is slower and nothing else."""

_LIBRARY = re.compile(r".+\.so(\.\d+)*")

_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
"""What a tree can do to who opens a directory in it: nothing is there, or a link that leads to
nothing. Every other error is the machine's, and passes."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Of a package, or of merged layers."""

    extensions: bool = False
    """Something to start in `extensions/`: `guest.extension_processes` says what."""
    libraries: bool = False
    """A shared library in `lib/`."""
    web_adapter: bool = False
    """The AWS Lambda Web Adapter."""


NOTHING = Contents()


def look(tree: Path) -> Contents:
    """Look at an unpacked tree. Blocks; raises `OSError` where the machine fails."""
    return Contents(
        extensions=_has(tree / "extensions", lambda entry: not _is_directory(entry)),
        libraries=_has(tree / "lib", lambda entry: _LIBRARY.fullmatch(entry.name) is not None),
        web_adapter=any(stat.S_ISREG(_mode(tree / name)) for name in ADAPTER_FILES),
    )


def _has(directory: Path, fits: Callable[[os.DirEntry[str]], bool]) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(
                number >= _MAX_LOOKED_AT or fits(entry) for number, entry in enumerate(entries)
            )
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Also through a link."""
    if entry.is_symlink():
        return stat.S_ISDIR(_mode(Path(entry)))
    return entry.is_dir(follow_symlinks=False)


def _mode(path: Path) -> int:
    """Of what is there, through links; 0 where nothing is."""
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno in _NOT_THERE:
            return 0
        raise
