"""Turns a path into a code package: a .py file, a folder or a zip → name, handler, zip bytes.

Pure: it reads the path and nothing else. The zip is a function of the files' names, contents and
executable bits alone (sorted, at a fixed time), so packing the same code twice gives the same
bytes, and a second deploy of it changes nothing.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from samovar.cli.failure import CommandError
from samovar.model.function import MAX_UNPACKED_BYTES, MAX_ZIP_BYTES

EXCLUDED_DIRS = frozenset(
    {
        *("__pycache__", ".git", ".hg", ".venv", ".samovar"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache"),
    }
)
_LEFTOVER = re.compile(r"\.#.*|#.*#|.*~|\..*\.sw[a-p]|4913|\.DS_Store")
"""What editors and desktops put beside a file, for the time of an edit or for ever."""

HANDLER_MODULES = ("app", "main", "index", "lambda_function", "handler")
"""Where a handler is looked for, in this order; then in the module named like the package."""
HANDLER_FUNCTIONS = ("handler", "lambda_handler")

MAX_MODULE_BYTES = 4 * 1024 * 1024
"""A longer module is not searched for a handler."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can say."""


class PackageError(CommandError):
    """The path cannot be made into a package: what is wrong with it, and what to do."""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message, next_step, exit_status=2)


@dataclass(frozen=True, slots=True)
class Package:
    """Code, ready to be uploaded."""

    name: str
    """A function name made from the file's or the folder's."""
    handler: str | None
    """`module.function`, where one was found."""
    zip_bytes: bytes
    names: frozenset[str]
    """Of top-level files and folders, with their suffixes and without."""

    @property
    def code_sha256(self) -> str:
        """AWS's CodeSha256 of it: base64."""
        return base64.b64encode(hashlib.sha256(self.zip_bytes).digest()).decode()

    def may_hold(self, handler: str) -> bool:
        """Whether the handler's module, or its script, is in the package. (A program of the
        function's own takes any handler.)"""
        first = re.split(r"[./]", handler, maxsplit=1)[0]
        return not self.names.isdisjoint((first, handler, "bootstrap"))


def is_packed(path: PurePath) -> bool:
    """Whether a file at this path below a folder is part of its package."""
    return not EXCLUDED_DIRS.intersection(path.parts) and not _LEFTOVER.fullmatch(path.name)


def build(path: Path, *, broken: bool = False) -> Package:
    """Package a .py file, a folder or a zip.

    `broken`: take also modules that are not valid Python; no handler is found in them.
    Raises `PackageError`: not there, of another kind, empty, unreadable or over AWS's limits.
    """
    path = Path(path)
    stem = path.resolve().name if path.is_dir() else path.stem
    return _describe(path, stem, pack(path), broken)


def pack(path: Path) -> bytes:
    """Zip a .py file or a folder, or read a zip. Raises `PackageError`, as `build` does."""
    try:
        if path.is_dir():
            zip_bytes = _zip(dict(_walk(path)))
        elif path.is_file() and path.suffix == ".py":
            zip_bytes = _zip({path.name: path})
        elif path.is_file() and path.suffix == ".zip":
            zip_bytes = path.read_bytes()
        elif path.exists():
            raise PackageError(
                f"{path} is no .py file, folder or zip", "give one of these to deploy"
            )
        else:
            raise PackageError(f"there is no {path}", "give a .py file, a folder or a zip")
    except OSError as error:
        raise PackageError(f"cannot read {error.filename or path}: {error.strerror}") from error
    if len(zip_bytes) > MAX_ZIP_BYTES:  # as the server checks too; here it saves an upload
        raise PackageError(
            f"{path} packs to {len(zip_bytes) / 1e6:.0f} MB, over the limit of 50 MB",
            "leave out what the function does not need at run time",
        )
    return zip_bytes


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name in the zip → file, for each file of the folder that is code."""
    total = 0
    for current, dirs, files in os.walk(folder, onerror=_raise):
        here = Path(current)
        dirs[:] = [name for name in dirs if name not in EXCLUDED_DIRS]
        for name in dirs:
            if (here / name).is_symlink():
                raise PackageError(
                    f"{here / name} is a link to a folder", "put the folder itself there"
                )
        for name in files:
            file = here / name
            if not is_packed(file.relative_to(folder)):
                continue
            if not file.is_file():
                kind = "a broken link" if file.is_symlink() else "not a regular file"
                raise PackageError(f"{file} is {kind}", "remove it from the folder")
            total += file.stat().st_size
            if total > MAX_UNPACKED_BYTES:
                raise PackageError(
                    f"{folder} is over the limit of 250 MB",
                    "leave out what the function does not need at run time",
                )
            yield file.relative_to(folder).as_posix(), file
    if total == 0:
        raise PackageError(f"{folder} has no code in it", "put an app.py with a handler there")


def _raise(error: OSError) -> None:
    raise error


def _zip(files: Mapping[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            executable = files[name].stat().st_mode & 0o100
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            entry.create_system = 3  # Unix: whatever system packs, the modes are honoured
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name].read_bytes())
    return buffer.getvalue()


def _describe(path: Path, stem: str, zip_bytes: bytes, broken: bool) -> Package:
    try:
        with zipfile.ZipFile(io.BytesIO(zip_bytes)) as archive:
            modules = _modules(archive)
            handler = _find_handler(archive, modules, stem, broken)
            names = {entry.filename.partition("/")[0] for entry in archive.infolist()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise PackageError(f"{path} cannot be read as a zip: {error}", "pack it again") from error
    names |= {name.partition(".")[0] for name in names}
    return Package(_function_name(stem), handler, zip_bytes, frozenset(names))


def _modules(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo | None]:
    """Top-level module → its file; None for a folder of modules."""
    modules: dict[str, zipfile.ZipInfo | None] = {}
    for entry in archive.infolist():
        first, slash, rest = entry.filename.partition("/")
        if slash and rest:
            modules.setdefault(first, None)
        elif first.endswith(".py"):
            modules[first.removesuffix(".py")] = entry
    return modules


def _find_handler(
    archive: zipfile.ZipFile, modules: Mapping[str, zipfile.ZipInfo | None], stem: str, broken: bool
) -> str | None:
    likely = [*HANDLER_MODULES, stem, stem.replace("-", "_")]
    files = [name for name, entry in modules.items() if entry is not None]
    if len(files) == 1:
        likely += files
    for module in likely:
        entry = modules.get(module)
        if entry is None or entry.file_size > MAX_MODULE_BYTES:
            continue
        with archive.open(entry) as stream:
            source = stream.read(MAX_MODULE_BYTES)
        try:
            defined = _top_level_names(entry.filename, source)
        except PackageError:
            if broken:
                continue
            raise
        for function in HANDLER_FUNCTIONS:
            if function in defined:
                return f"{module}.{function}"
    return None


def _top_level_names(filename: str, source: bytes) -> set[str]:
    try:
        tree = ast.parse(source, filename)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        what = error.msg if isinstance(error, SyntaxError) else str(error)
        raise PackageError(
            f"{filename}{where} is not valid Python: {what}",
            "mend it, or name the handler of another file with --handler",
        ) from error
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(t.id for t in node.targets if isinstance(t, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names


def _function_name(stem: str) -> str:
    """The nearest name that AWS takes: letters, digits, - and _, 64 at most."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:64] or "function"
