"""Copies of code for instances without mounts: kept while used, and a few longer."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from samovar.sandbox.process.code_copies import _KEPT, CodeCopies, Directories


@pytest.fixture
async def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CodeCopies]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    copies = CodeCopies("test")
    await copies.open()
    yield copies
    await copies.close()
    assert list((tmp_path / "tmp").iterdir()) == []


def a_function(tmp_path: Path, name: str) -> Directories:
    (tmp_path / name).mkdir()
    (tmp_path / name / "app.py").write_text(name)
    return tmp_path / name, None


def there(tmp_path: Path) -> set[str]:
    """The names of the functions that are copied."""
    return {path.read_text() for path in (tmp_path / "tmp").glob("*/*/app.py")}


async def test_a_copy_serves_all_instances_of_its_code(copies: CodeCopies, tmp_path: Path) -> None:
    tea = a_function(tmp_path, "tea")
    assert len({await copies.take(tea) for _ in range(3)}) == 1
    (copy, _) = await copies.take(tea)
    assert (copy / "app.py").read_text() == "tea"


async def test_the_longest_unused_go_when_there_are_too_many(
    copies: CodeCopies, tmp_path: Path
) -> None:
    functions = [a_function(tmp_path, str(number)) for number in range(_KEPT + 3)]
    await copies.take(functions[0])
    for function in functions[1:]:
        await copies.take(function)
        copies.give_back(function)
    await copies.take(a_function(tmp_path, "new"))
    kept = {"0", "new"} | {str(number) for number in range(3, _KEPT + 3)}
    assert there(tmp_path) == kept


async def test_nothing_is_counted_of_what_nobody_uses(copies: CodeCopies, tmp_path: Path) -> None:
    for number in range(3):
        function = a_function(tmp_path, str(number))
        await copies.take(function)
        copies.give_back(function)
    assert not dict(copies._users)


async def test_instances_come_and_go_while_copies_are_made(
    copies: CodeCopies, tmp_path: Path
) -> None:
    functions = [a_function(tmp_path, str(number)) for number in range(3 * _KEPT)]

    async def use(function: Directories) -> None:
        copy, _ = await copies.take(function)
        assert (copy / "app.py").read_text() == function[0].name
        copies.give_back(function)

    for _ in range(3):
        await asyncio.gather(*(use(function) for function in functions for _ in range(3)))
    await copies.take(a_function(tmp_path, "new"))
    assert list(copies._users) == [tmp_path / "new"]
    assert len(there(tmp_path)) == _KEPT + 1


async def test_a_copy_that_fails_leaves_nothing(copies: CodeCopies, tmp_path: Path) -> None:
    tea = a_function(tmp_path, "tea")
    shutil.rmtree(tea[0])
    with pytest.raises(FileNotFoundError):
        await copies.take(tea)
    assert not dict(copies._users)
    assert not list((tmp_path / "tmp").glob("*/*"))
