"""Code where instances can read it that have a uid of their own, but no root of their own.

How this works. The server keeps code below a directory that only it may enter. With mounts that
does not matter: the supervisor puts the code into the instance's root. Without them (a container
that allows none) an instance of another uid needs a copy, in the system's temporary directory,
below a directory that can be passed but not listed, under a name that is not to be guessed.

A copy serves all instances of its code, and is kept for a while after the last of them.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
import tempfile
from collections import Counter
from pathlib import Path

_KEPT = 8
"""Copies that no instance uses."""


Directories = tuple[Path, Path | None]
"""An instance's code, and its layers if it has any."""


class CodeInPlace:
    """No copies: the supervisor reads code where the server keeps it, or instances may."""

    async def open(self) -> None:
        """Nothing to be done."""

    async def take(self, directories: Directories) -> Directories:
        """Return where to read them."""
        return _absolute(directories)

    def give_back(self, directories: Directories) -> None:
        """Nothing to be done."""

    async def close(self) -> None:
        """Nothing to be done."""


class CodeCopies:
    """See the module. `name` is the server's on this machine."""

    def __init__(self, name: str) -> None:
        self._prefix = f"samovar-{name}-"
        self._root: Path | None = None
        self._copies: dict[Path, Path] = {}
        """Of which directory → where; the longest unused first."""
        self._users: Counter[Path] = Counter()
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Remove what an earlier life left, and make room. Raises `OSError`."""
        self._root = await asyncio.to_thread(self._make_root)

    async def take(self, directories: Directories) -> Directories:
        """Return where to read them; `give_back` when done. Raises `OSError`."""
        code_dir, layers_dir = directories
        code_copy = await self._take(code_dir)
        try:
            return code_copy, layers_dir and await self._take(layers_dir)
        except BaseException:
            self._give_back(code_dir)
            raise

    def give_back(self, directories: Directories) -> None:
        """One instance of them has gone."""
        for directory in directories:
            if directory:
                self._give_back(directory)

    async def close(self) -> None:
        """Remove all."""
        root, self._root = self._root, None
        self._copies.clear()
        if root:
            await asyncio.to_thread(shutil.rmtree, root, True)

    async def _take(self, directory: Path) -> Path:
        self._users[directory] += 1
        try:
            async with self._lock:
                if directory not in self._copies:
                    self._copies[directory] = await self._copy(directory)
        except BaseException:
            self._give_back(directory)
            raise
        return self._copies[directory]

    def _give_back(self, directory: Path) -> None:
        self._users[directory] -= 1
        if self._users[directory]:
            return
        del self._users[directory]
        if directory in self._copies:
            self._copies[directory] = self._copies.pop(directory)  # now the last to be removed

    def _make_root(self) -> Path:
        for path in Path(tempfile.gettempdir()).glob(self._prefix + "*"):
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)
        root = Path(tempfile.mkdtemp(prefix=self._prefix))
        root.chmod(0o711)
        return root

    async def _copy(self, directory: Path) -> Path:
        assert self._root
        target = self._root / secrets.token_hex(16)
        # Chosen and forgotten here: the thread must not touch what changes on the loop meanwhile.
        unused = [path for path in self._copies if path not in self._users]
        too_many = [self._copies.pop(path) for path in unused[: max(0, len(unused) - _KEPT)]]
        return await asyncio.to_thread(_replace, too_many, directory, target)


def _replace(copies: list[Path], directory: Path, target: Path) -> Path:
    """Remove copies, and make another. Blocks."""
    for copy in copies:
        shutil.rmtree(copy, ignore_errors=True)
    try:
        return Path(shutil.copytree(directory, target, symlinks=True))
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _absolute(directories: Directories) -> Directories:
    code_dir, layers_dir = directories
    return code_dir.resolve(), layers_dir and layers_dir.resolve()
