"""What `samovar deploy` makes of a path."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from samovar.cli.package import PackageError, build
from samovar.model.function import MAX_UNPACKED_BYTES

HANDLER = "def handler(event, context):\n    return event\n"


def folder(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def names(zip_bytes: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(zip_bytes)).namelist()


def test_a_file_becomes_a_function_of_its_name(tmp_path):
    path = tmp_path / "greet.py"
    path.write_text(HANDLER)
    package = build(path)
    assert (package.name, package.handler) == ("greet", "greet.handler")
    assert names(package.zip_bytes) == ["greet.py"]


def test_a_folder_becomes_a_function_of_its_name(tmp_path):
    package = build(folder(tmp_path / "my app", app_py=HANDLER, lib__tool_py=""))
    assert (package.name, package.handler) == ("my-app", "app.handler")
    assert names(package.zip_bytes) == ["app.py", "lib/tool.py"]


def test_a_zip_is_taken_as_it_is(tmp_path):
    path = tmp_path / "packed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lambda_function.py", "def lambda_handler(e, c): pass")
    package = build(path)
    assert package.zip_bytes == path.read_bytes()
    assert (package.name, package.handler) == ("packed", "lambda_function.lambda_handler")


def test_packing_the_same_code_twice_gives_the_same_bytes(tmp_path):
    one = folder(tmp_path / "one", app_py=HANDLER, lib__a_py="a = 1", lib__b_py="b = 2")
    two = folder(tmp_path / "two", lib__b_py="b = 2", lib__a_py="a = 1", app_py=HANDLER)
    os.utime(two / "app.py", (1, 1))
    assert build(one).zip_bytes == build(two).zip_bytes


def test_an_executable_file_stays_one(tmp_path):
    root = folder(tmp_path / "x", app_py=HANDLER, tool="#!/bin/sh\n")
    (root / "tool").chmod(0o755)
    infos = zipfile.ZipFile(io.BytesIO(build(root).zip_bytes)).infolist()
    assert {info.filename: info.external_attr >> 16 for info in infos} == {
        "app.py": 0o100644,
        "tool": 0o100755,
    }


def test_what_is_no_code_is_left_out(tmp_path):
    root = folder(tmp_path / "x", app_py=HANDLER)
    for name in ("__pycache__", ".git", ".venv", ".samovar", "lib/__pycache__"):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_text("no code")
    assert names(build(root).zip_bytes) == ["app.py"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (HANDLER, "app.handler"),
        ("async def handler(event, context): ...", "app.handler"),
        ("def lambda_handler(event, context): ...", "app.lambda_handler"),
        ("from web import handler", "app.handler"),
        ("import web\nhandler = web.make()", "app.handler"),
        ("handler: object = make()", "app.handler"),
        ("class handler: ...", "app.handler"),
        ("def other(event, context): ...", None),
        ("def outer():\n    def handler(): ...", None),
    ],
)
def test_a_handler_is_found_however_it_is_defined(tmp_path, source, found):
    assert build(folder(tmp_path / "x", app_py=source)).handler == found


def test_app_comes_before_the_other_modules(tmp_path):
    root = folder(tmp_path / "x", main_py=HANDLER, app_py=HANDLER, x_py=HANDLER)
    assert build(root).handler == "app.handler"


def test_a_package_knows_whether_a_handler_may_be_in_it(tmp_path):
    package = build(folder(tmp_path / "x", app_py=HANDLER, lib__web_py=""))
    assert package.may_hold("app.other")
    assert package.may_hold("lib/web.handler")
    assert not package.may_hold("gone.handler")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nothing", "there is no"),
        (lambda root: folder(root, notes="x") / "notes", "no .py file, folder or zip"),
        (lambda root: folder(root / "broken", app_py="def handler(:"), "app.py, line 1"),
    ],
)
def test_a_path_that_cannot_be_packed_is_named_in_one_line(tmp_path, make, message):
    with pytest.raises(PackageError, match=message) as caught:
        build(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(PackageError, match="has no code in it"):
        build(tmp_path)


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    path = tmp_path / "fake.zip"
    path.write_bytes(b"PK\x03\x04 but no more")
    with pytest.raises(PackageError, match="cannot be read as a zip"):
        build(path)


def test_a_link_to_nowhere_is_refused(tmp_path):
    root = folder(tmp_path / "x", app_py=HANDLER)
    (root / "data").symlink_to("/nowhere/at/all")
    with pytest.raises(PackageError, match="a broken link"):
        build(root)


def test_a_link_to_a_folder_is_refused_rather_than_dropped(tmp_path):
    root = folder(tmp_path / "x", app_py=HANDLER)
    (root / "data").symlink_to(tmp_path)
    with pytest.raises(PackageError, match="a link to a folder"):
        build(root)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    root = folder(tmp_path / "x", app_py=HANDLER)
    os.mkfifo(root / "pipe")
    with pytest.raises(PackageError, match="not a regular file"):
        build(root)


def test_a_folder_over_the_limit_is_refused_before_it_is_read(tmp_path):
    root = folder(tmp_path / "x", app_py=HANDLER)
    with (root / "hole").open("wb") as file:
        file.truncate(MAX_UNPACKED_BYTES + 1)
    with pytest.raises(PackageError, match="250 MB"):
        build(root)
