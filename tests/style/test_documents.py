"""The documents tell today's truth: what they point at exists, what they promise is measured."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from samovar.config import Config
from tests.style.sources import PACKAGE, ROOT

LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)\s#]+)")
CODE_PATH = re.compile(r"`((?:src|docs|tests|examples|benchmarks|requirements|\.ci)/[^`\s*…<>]*)`")
NUMBER = re.compile(r"\d")

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_a_document_names_exists(document: Path):
    text = document.read_text()
    wanted = {document.parent / target for target in LINK.findall(text)}
    wanted |= {ROOT / target for target in CODE_PATH.findall(text)}
    assert [str(path) for path in sorted(wanted) if not path.exists()] == []


def test_the_index_names_every_package():
    index = (ROOT / "ARCHITECTURE.md").read_text()
    packages = {
        path.parent.relative_to(ROOT).as_posix() + "/"
        for path in PACKAGE.rglob("__init__.py")
        if path.parent != PACKAGE and "versions" not in path.parts
    }
    assert sorted(name for name in packages if f"`{name}`" not in index) == []


def test_the_index_names_every_module_at_the_top():
    index = (ROOT / "ARCHITECTURE.md").read_text()
    modules = {
        path.relative_to(ROOT).as_posix() for path in PACKAGE.glob("*.py") if path.stem[0] != "_"
    }
    assert sorted(name for name in modules if f"`{name}`" not in index) == []


def test_every_setting_is_documented():
    text = (ROOT / "docs/operate/run.md").read_text()
    ours = {"end_with_stdin", "terminal", "lock_fd", "listener_fd"}  # what our own commands set
    names = {field.name for field in fields(Config)} - ours
    wanted = {f"SAMOVAR_{name.upper()}".removesuffix("_S") for name in names}
    assert sorted(name for name in wanted if name not in text) == []


def test_every_promised_number_stands_beside_its_command():
    bare = []
    for line in (ROOT / "SPECIFICATION.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        is_row = line.startswith("|") and not set(line) <= set("|-: ")
        if is_row and len(cells) > 1 and NUMBER.search(cells[1]) and "`" not in cells[-1]:
            bare.append(line)
    assert bare == []
