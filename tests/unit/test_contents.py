"""What an unpacked tree is said to bring."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from samovar.worker.contents import NOTHING, Contents, look


def tree_of(directory: Path, *files: str, **links: str) -> Path:
    for name in files:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("")
    for name, target in links.items():
        (directory / name).symlink_to(target)
    return directory


@pytest.mark.parametrize(
    ("files", "brought"),
    [
        ([], NOTHING),
        (["app.py", "bin/tea", "python/libtea.so"], NOTHING),
        (["extensions/tea"], Contents(extensions=True)),
        (["extensions/tea/main.py"], NOTHING),
        (["lib/libtea.so"], Contents(libraries=True)),
        (["lib/libtea.so.1.2"], Contents(libraries=True)),
        (["lib/tea.py", "lib/deeper/libtea.so", "lib/.so"], NOTHING),
        (["extensions", "lib"], NOTHING),
        (["extensions/lambda-adapter"], Contents(extensions=True, web_adapter=True)),
        (["bootstrap"], Contents(web_adapter=True)),
    ],
)
def test_what_is_there_is_found(tmp_path: Path, files: list[str], brought: Contents) -> None:
    assert look(tree_of(tmp_path, *files)) == brought


def test_links_are_followed(tmp_path: Path) -> None:
    tree_of(tmp_path, "real/tea", "real/libtea.so", extensions="real", lib="real")
    assert look(tmp_path) == Contents(extensions=True, libraries=True)


@pytest.mark.parametrize("target", ["nowhere", "x" * 300, "lib", "app.py/x"])
def test_links_to_nothing_are_nothing(tmp_path: Path, target: str) -> None:
    tree_of(tmp_path, "app.py", extensions=target, lib=target, bootstrap=target)
    assert look(tmp_path) == NOTHING


def test_an_extension_may_be_a_link_to_nothing_but_not_one_to_a_directory(tmp_path: Path) -> None:
    """As an instance finds them: what cannot be started fails its init."""
    tree_of(tmp_path, "extensions/folder/x")
    (tmp_path / "extensions" / "link").symlink_to("folder")
    assert look(tmp_path) == NOTHING
    (tmp_path / "extensions" / "other").symlink_to("x" * 300)
    assert look(tmp_path) == Contents(extensions=True)


def test_a_directory_with_too_many_entries_counts_without_being_read_to_its_end(
    tmp_path: Path,
) -> None:
    for folder in ("extensions", "lib"):
        (tmp_path / folder).mkdir()
        for number in range(10_001):
            (tmp_path / folder / str(number)).mkdir()
    assert look(tmp_path) == Contents(extensions=True, libraries=True)


def test_a_failure_that_passes_is_not_taken_for_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match="too many"):
        look(tmp_path)
