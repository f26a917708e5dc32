"""`samovar layer`, and `samovar deploy --layer`, against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aws.functions import package
from tests.integration.test_cli import Run, deploy, name, samovar

__all__ = ["deploy", "name", "samovar"]

HANDLER = "def handler(event, context):\n    import tea\n    return tea.KIND\n"


@pytest.fixture
def layer(samovar: Run, name: str):
    """A layer name of the test's own; the layer is deleted after it."""
    yield name
    samovar("layer", "rm", name, "--yes")


def layer_of(folder: Path, kind: str) -> str:
    (folder / "python").mkdir(parents=True, exist_ok=True)
    (folder / "python" / "tea.py").write_text(f"KIND = {kind!r}\n")
    return str(folder)


def app(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(HANDLER)
    return str(folder)


def answer(samovar: Run, name: str) -> str:
    done = samovar("invoke", name)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_folder_becomes_a_layer_of_a_function(samovar, deploy, layer, name, tmp_path):
    done = samovar("layer", "publish", layer, layer_of(tmp_path / "layer", "green"))
    assert done.stdout.startswith(f"{layer}:1 published; "), done.stderr
    deploy(app(tmp_path / "x"), "--layer", layer)
    assert answer(samovar, name) == '"green"'


def test_a_zip_becomes_a_layer_too(samovar, deploy, layer, name, tmp_path):
    (tmp_path / "layer.zip").write_bytes(package({"python/tea.py": "KIND = 'zipped'"}))
    samovar("layer", "publish", layer, str(tmp_path / "layer.zip"))
    deploy(app(tmp_path / "x"), "--layer", f"{layer}:1")
    assert answer(samovar, name) == '"zipped"'


def test_a_deploy_says_which_version_and_whether_it_changes(
    samovar, deploy, layer, name, tmp_path, lambda_client
):
    for kind in ("green", "black"):
        samovar("layer", "publish", layer, layer_of(tmp_path / "layer", kind))
    path = app(tmp_path / "x")
    deploy(path, "--layer", f"{layer}:1")
    assert answer(samovar, name) == '"green"'
    assert "up to date" in deploy(path).stdout
    assert "up to date" in deploy(path, "--layer", f"{layer}:1").stdout
    assert "updated (configuration)" in deploy(path, "--layer", layer).stdout
    assert answer(samovar, name) == '"black"'
    arn = lambda_client.get_layer_version(LayerName=layer, VersionNumber=1)["LayerVersionArn"]
    deploy(path, "--layer", arn)
    assert answer(samovar, name) == '"green"'
    assert "updated (configuration)" in deploy(path, "--no-layers").stdout
    assert samovar("invoke", name).returncode != 0


def test_layers_are_listed_with_their_newest_version(samovar, layer, tmp_path):
    path = layer_of(tmp_path / "layer", "green")
    samovar("layer", "publish", layer, path)
    samovar("layer", "publish", layer, path, "--runtime", "python3.11", "--description", "strong")
    heading, *rows = samovar("layer", "ls").stdout.splitlines()
    assert heading.split() == ["NAME", "VERSION", "RUNTIMES", "PUBLISHED", "DESCRIPTION"]
    (row,) = [row.split() for row in rows if row.split()[0] == layer]
    assert (row[1], row[2], row[-1]) == ("2", "python3.11", "strong")


def test_one_version_or_all_are_removed(samovar, layer, tmp_path):
    path = layer_of(tmp_path / "layer", "green")
    for _ in range(3):
        samovar("layer", "publish", layer, path)
    assert samovar("layer", "rm", f"{layer}:3", "--yes").stdout == f"{layer}:3 deleted\n"
    assert [line.split()[1] for line in samovar("layer", "ls").stdout.splitlines()
            if line.startswith(layer)] == ["2"]  # fmt: skip
    assert samovar("layer", "rm", layer, "--yes").returncode == 0
    assert layer not in samovar("layer", "ls").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (
            ["rm", "no-such-layer", "--yes"],
            1,
            "there is no layer no-such-layer; `samovar layer ls`",
        ),
        (["rm", "no-such-layer"], 2, "say --yes"),
        (["rm", "tea:green", "--yes"], 2, "say NAME, NAME:VERSION or an ARN"),
        (["publish", "tea", "missing"], 2, "there is no missing"),
        (["publish", "no good name", "."], 1, "ValidationException"),
    ],
)
def test_mistakes_are_told_in_one_line(samovar, tmp_path, arguments, status, words):
    (tmp_path / "file").write_text("")
    arguments = [str(tmp_path) if argument == "." else argument for argument in arguments]
    (tmp_path / "data").write_text("some")
    done = samovar("layer", *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (status, 1), done.stderr
    assert words in done.stderr


def test_a_deploy_with_a_layer_that_is_not_there_is_refused(samovar, name, tmp_path):
    done = samovar("deploy", app(tmp_path / "x"), "--name", name, "--layer", "no-such-layer")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no layer no-such-layer" in done.stderr
