"""Watching a path that is being worked on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path, PurePath

from samovar.cli.failure import CommandError
from samovar.cli.package import is_packed

QUIET_MS = 50
"""Changes that follow each other closer than this are one."""
LONGEST_MS = 500
"""And what goes on for longer is taken in parts."""
TURN_MS = 250
GONE_AFTER_S = 2.0


def changes(path: Path) -> Iterator[bool]:
    """Yield, four times a second or as soon as it is so, whether the package of `path` may have
    changed since the last time. The first time it may: nobody has watched before.

    Raises `CommandError` where the path goes away or cannot be watched."""
    path = path.resolve()
    # A file by way of its folder: editors save by putting another file in its place.
    return _changes_of(path, path if path.is_dir() else path.parent)


def _changes_of(path: Path, folder: Path) -> Iterator[bool]:
    while True:
        yield from _changes_of_one(path, folder)


def _changes_of_one(path: Path, folder: Path) -> Iterator[bool]:
    """As `changes`, until the folder that is watched is another one of the same name."""
    from watchfiles import watch

    identity = _identity(folder)
    changed = True
    try:
        for found in watch(
            folder,
            watch_filter=None,  # a folder in which much happens must not keep a turn from coming
            step=QUIET_MS,
            debounce=LONGEST_MS,
            rust_timeout=TURN_MS,
            yield_on_timeout=True,
            recursive=folder == path,
        ):
            yield changed or any(_matters(PurePath(file), path, folder) for _, file in found)
            if _identity(folder) != identity:
                return
            changed = False
    except (OSError, RuntimeError) as error:
        raise CommandError(
            f"{folder} cannot be watched: {error}", "see inotify(7) for the limits"
        ) from error


def _matters(file: PurePath, path: Path, folder: Path) -> bool:
    return file == path or (folder == path and is_packed(file.relative_to(folder)))


def _identity(folder: Path) -> tuple[int, int]:
    """Which folder has this name; waits a moment for one that is being replaced."""
    until = time.monotonic() + GONE_AFTER_S
    while time.monotonic() < until:
        try:
            found = folder.stat()
        except OSError:
            time.sleep(0.02)
        else:
            return found.st_dev, found.st_ino
    raise CommandError(f"{folder} is gone", "start again where it is now")
