"""Several unpacked packages as one tree."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.worker.code_package import UnpackCancelledError, remove_tree
from samovar.worker.layer_tree import merge

Content = Mapping[str, str | bytes]
"""Path → a text, or as bytes the target of a symbolic link; None would be a directory's."""

Maker = Callable[..., Path]


@pytest.fixture
def merged(tmp_path: Path) -> Maker:
    """Merges packages of such content."""

    def make(*packages: Content, **more: Any) -> Path:
        parts = [_package(tmp_path / str(n), content) for n, content in enumerate(packages)]
        target = tmp_path / "merged"
        merge(parts, target, **more)
        return target

    return make


def _package(directory: Path, content: Content) -> Path:
    directory.mkdir()
    for path, what in content.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, bytes):
            target.symlink_to(what.decode())
        else:
            target.write_text(what)
    return directory


def what_is_in(tree: Path) -> dict[str, str]:
    """Path → its text, or the target of a link after an arrow."""
    found = {}
    for directory, _, _ in os.walk(tree):
        for path in Path(directory).iterdir():
            name = str(path.relative_to(tree))
            if path.is_symlink():
                found[name] = f"→ {path.readlink()}"
            elif path.is_file():
                found[name] = path.read_text()
    return found


def test_packages_are_laid_over_each_other_and_the_later_wins(merged: Maker) -> None:
    tree = merged({"a/one": "1", "a/two": "1"}, {"a/two": "2", "b/three": "2"}, {"a/two": "3"})
    assert what_is_in(tree) == {"a/one": "1", "a/two": "3", "b/three": "2"}


def test_a_file_takes_the_place_of_a_whole_directory(merged: Maker) -> None:
    assert what_is_in(merged({"a/b/c": "1", "a/d": "1"}, {"a/b": "2"})) == {"a/b": "2", "a/d": "1"}


def test_a_directory_takes_the_place_of_a_file(merged: Maker) -> None:
    assert what_is_in(merged({"a": "1"}, {"a/b": "2"}, {"a/c": "3"})) == {"a/b": "2", "a/c": "3"}


def test_nothing_is_written_through_a_link(merged: Maker) -> None:
    tree = merged({"real/x": "1", "link": b"real"}, {"link/x": "2"})
    assert what_is_in(tree) == {"real/x": "1", "link/x": "2"}


def test_a_link_takes_the_place_of_a_directory(merged: Maker) -> None:
    tree = merged({"extensions/mine": "1", "other/x": "1"}, {"extensions": b"other"})
    assert what_is_in(tree) == {"extensions": "→ other", "other/x": "1"}


def test_links_that_lead_out_together_are_refused(merged: Maker, tmp_path: Path) -> None:
    """Alone each stays inside: the first climbs from a deep directory, the second makes it flat."""
    first = {"a/b/c/real/x": "1", "a/b/climb": b"c/real/../../../.."}
    with pytest.raises(PlatformError) as refused:
        merged(first, {"a/b/c": b"../../flat", "flat/real": b"../flat"})
    assert refused.value.code is ErrorCode.INVALID_PARAMETER
    assert "'a/b/climb' leads out" in refused.value.message
    assert not (tmp_path / "merged").exists()


def test_links_in_a_circle_across_packages_are_refused(merged: Maker) -> None:
    with pytest.raises(PlatformError, match="round in circles"):
        merged({"a": b"b"}, {"b": b"a"})


def test_a_link_to_what_another_package_brings_is_fine(merged: Maker) -> None:
    tree = merged({"lib/libtea.so": b"libtea.so.1"}, {"lib/libtea.so.1": "tea"})
    assert (tree / "lib" / "libtea.so").read_text() == "tea"


def test_files_are_shared_with_the_packages_and_stay_when_those_go(
    merged: Maker, tmp_path: Path
) -> None:
    tree = merged({"a": "1"}, {"b": "2"})
    assert (tree / "a").stat().st_ino == (tmp_path / "0" / "a").stat().st_ino
    remove_tree(tmp_path / "0")
    assert (tree / "a").read_text() == "1"


def test_where_there_are_no_hard_links_files_are_copied(
    merged: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    assert what_is_in(merged({"a": "1", "l": b"a"}, {"b": "2"})) == {
        "a": "1",
        "b": "2",
        "l": "→ a",
    }


def test_the_tree_is_readable_to_everybody_and_writable_to_nobody(merged: Maker) -> None:
    tree = merged({"a/b": "1"}, {"c": "2"})
    for path in (tree, tree / "a"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o555


def test_a_merge_that_is_cancelled_leaves_nothing(merged: Maker, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(UnpackCancelledError):
        merged({"a/b": "1"}, {"c": "2"}, cancel=cancel)
    assert not (tmp_path / "merged").exists()


class CancelledAfter(threading.Event):
    """Is set once it has been looked at so often."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_a_merge_can_be_cancelled_at_every_step(tmp_path: Path) -> None:
    """Each entry is passed three times: scanned, asked whether it is a link, made."""
    first, second = _package(tmp_path / "a", {"a/b": "1"}), _package(tmp_path / "b", {"c": b"a"})
    for looks in range(3 * 3):
        with pytest.raises(UnpackCancelledError):
            merge([first, second], tmp_path / "merged", cancel=CancelledAfter(looks))
        assert not (tmp_path / "merged").exists()
    merge([first, second], tmp_path / "merged", cancel=CancelledAfter(3 * 3))


def test_layers_that_are_too_many_files_together_are_refused(merged: Maker, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="together they hold more than 3 entries") as refused:
        merged({"a/one": "1"}, {"a/two": "2", "b": b"a"}, max_entries=3)
    assert refused.value.code is ErrorCode.INVALID_PARAMETER
    assert not (tmp_path / "merged").exists()


def test_what_is_replaced_does_not_count(merged: Maker) -> None:
    first = {"a/b/c": "1", "a/b/d": b"c", "a/e": "1"}
    tree = merged(first, {"a/b": "2"}, {"a/b": "3", "a/e": b"b", "f": "3"}, max_entries=5)
    assert what_is_in(tree) == {"a/b": "3", "a/e": "→ b", "f": "3"}


def test_the_same_package_twice_is_as_good_as_once(tmp_path: Path) -> None:
    package = _package(tmp_path / "package", {"a/b": "1"})
    facts = merge([package, package], tmp_path / "merged")
    assert (facts.files, facts.directories, facts.unpacked_bytes) == (1, 1, 1)
