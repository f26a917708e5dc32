"""What functions of each runtime find of their layers, and what they cannot do to them."""

from __future__ import annotations

import io
import stat
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from tests.aws.functions import FunctionFactory
from tests.aws.layers import LayerFactory
from tests.aws.runtimes import SHELL_BOOTSTRAP, custom, executables, invoke, needed
from tests.server import Server

LISTS_OPT = """
import os
def handler(event, context):
    return sorted(os.path.join(at, name)[5:] for at, _, names in os.walk("/opt") for name in names)
"""
TEA = "def handler(event, context):\n    import tea\n    return tea.KIND\n"


@pytest.fixture
def mounts(server: Server) -> None:
    """Skip where instances have no root of their own."""
    if "mounts" not in server.health()["isolation"]["layers"]:
        pytest.skip("there is no /opt of an instance's own here")


def site_packages(runtime: str) -> str:
    return f"python/lib/{runtime}/site-packages"


# ---------------------------------------------------------------- Python


def test_python_looks_in_the_code_then_in_the_layers(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory, runtime: str
) -> None:
    site = site_packages(runtime)
    layer = publish.arn(
        {
            **{f"python/{name}.py": "WHERE = 'python'" for name in "abc"},
            **{f"{site}/{name}.py": "WHERE = 'site'" for name in "ab"},
        }
    )
    source = "import a, b, c, sys\ndef handler(event, context):\n"
    source += "    return [a.WHERE, b.WHERE, c.WHERE], sys.path[:3], sys.path[0]\n"
    name = make_function({"app.py": source, "a.py": "WHERE = 'task'"}, Layers=[layer])
    (where, path, task_root), error, _ = invoke(lambda_client, name)
    assert (where, error) == (["task", "site", "python"], None)
    opt = path[2].removesuffix("/python")
    assert path == [task_root, f"{opt}/{site}", f"{opt}/python"]


def test_a_module_of_a_layer_wins_over_one_of_the_standard_library(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    layer = publish.arn({"python/queue.py": "KIND = 'of the layer'"})
    name = make_function(TEA.replace("tea", "queue"), Layers=[layer])
    assert invoke(lambda_client, name)[0] == "of the layer"


def test_programs_of_layers_are_on_the_path(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    script = executables({"bin/brew": "#!/bin/sh\necho brewed\n"})
    layer = publish.arn({}, Content={"ZipFile": script})
    source = "import subprocess\ndef handler(event, context):\n"
    source += "    return subprocess.run(['brew'], capture_output=True, text=True).stdout\n"
    name = make_function(source, Layers=[layer])
    assert invoke(lambda_client, name)[0] == "brewed\n"


def test_later_layers_win_file_over_file(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    first = publish.arn({"python/tea.py": "KIND = 'green'", "a": "", "d/x": "", "d/y": ""})
    second = publish.arn({"python/tea.py": "KIND = 'black'", "a/b": "", "d": ""})
    for layers, kind in (([first, second], "black"), ([second, first], "green")):
        assert invoke(lambda_client, make_function(TEA, Layers=layers))[0] == kind


def test_a_missing_module_is_told_as_ever(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    name = make_function("import coffee", Layers=[publish.arn({"python/tea.py": ""})])
    document, error, _ = invoke(lambda_client, name)
    assert error == "Unhandled"
    assert document["errorType"] == "Runtime.ImportModuleError"
    assert document["errorMessage"] == "Unable to import module 'app': No module named 'coffee'"


# ---------------------------------------------------------------- others


def test_node_finds_the_modules_of_layers(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory, server: Server
) -> None:
    nodes = [name for name in server.health()["runtimes"] if name.startswith("nodejs")]
    if not nodes:
        pytest.skip("this machine has no Node.js")
    major = nodes[-1].removeprefix("nodejs").removesuffix(".x")
    layer = publish.arn(
        {
            "nodejs/node_modules/tea/index.js": "exports.kind = 'green'",
            f"nodejs/node{major}/node_modules/cup/index.js": "exports.kind = 'large'",
        }
    )
    source = "const [tea, cup] = [require('tea'), require('cup')]\n"
    source += "exports.handler = async () => [tea.kind, cup.kind]\n"
    name = make_function({"app.js": source}, Runtime=nodes[-1], MemorySize=256, Layers=[layer])
    assert invoke(lambda_client, name)[:2] == (["green", "large"], None)


def test_a_bootstrap_can_come_from_a_layer(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    layer = publish.arn({}, Content={"ZipFile": executables({"bootstrap": SHELL_BOOTSTRAP})})
    name = make_function({"any": ""}, Runtime="provided.al2023", Handler="tea", Layers=[layer])
    assert invoke(lambda_client, name, "green")[0] == {"event": "green", "handler": "tea"}


def test_the_functions_own_bootstrap_wins_over_that_of_a_layer(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    other = publish.arn({}, Content={"ZipFile": executables({"bootstrap": "#!/bin/false\n"})})
    name = make_function({}, **custom({"bootstrap": SHELL_BOOTSTRAP}), Layers=[other])
    assert invoke(lambda_client, name, 1)[0]["event"] == 1


def test_a_program_finds_the_libraries_of_layers(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory, tmp_path: Path
) -> None:
    layer = publish.arn({"lib/libtea.so": shared_library(tmp_path)})
    source = "import subprocess, sys\ndef handler(event, context):\n"
    source += "    program = 'import ctypes; print(ctypes.CDLL(\"libtea.so\").cups())'\n"
    source += "    command = ['/usr/bin/python3', '-c', program]\n"
    source += "    return subprocess.run(command, capture_output=True, text=True).stdout\n"
    needed("python3")
    assert invoke(lambda_client, make_function(source, Layers=[layer]))[0] == "3\n"


def shared_library(folder: Path) -> bytes:
    """A library of C, with a function `cups`."""
    (folder / "tea.c").write_text("int cups(void) { return 3; }\n")
    command = [needed("gcc"), "-shared", "-fPIC", "-o", "libtea.so", "tea.c"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return (folder / "libtea.so").read_bytes()


@pytest.mark.parametrize("place", ["layer", "code"])
def test_python_loads_libraries_by_name(
    lambda_client: Any,
    make_function: FunctionFactory,
    publish: LayerFactory,
    tmp_path: Path,
    place: str,
) -> None:
    source = "import ctypes, tea\ndef handler(event, context):\n"
    source += "    return tea.KIND, ctypes.CDLL('libtea.so').cups()\n"
    library = {"lib/libtea.so": shared_library(tmp_path)}
    module = "KIND = 'green'\n"
    if place == "layer":
        name = make_function(source, Layers=[publish.arn({"python/tea.py": module, **library})])
    else:
        name = make_function({"app.py": source, "tea.py": module, **library})
    assert invoke(lambda_client, name)[:2] == (["green", 3], None)


# ---------------------------------------------------------------- attacks


def test_a_function_cannot_write_to_its_layers(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory, mounts: None
) -> None:
    layer = publish.arn({"python/tea.py": "KIND = 'green'\n"})
    source = """
    import os
    def handler(event, context):
        tries = {
            "create": lambda: open("/opt/mine", "w"),
            "append": lambda: open("/opt/python/tea.py", "a"),
            "replace": lambda: os.rename("/opt/python/tea.py", "/opt/python/x.py"),
            "delete": lambda: os.remove("/opt/python/tea.py"),
            "loosen": lambda: os.chmod("/opt/python/tea.py", 0o777),
            "link": lambda: os.link("/opt/python/tea.py", "/tmp/tea.py"),
            "mount": lambda: os.rmdir("/opt"),
        }
        refused = []
        for name, attempt in tries.items():
            try: attempt()
            except OSError: refused.append(name)
        return sorted(set(tries) - set(refused))
    """
    hostile = make_function(source, Layers=[layer])
    assert invoke(lambda_client, hostile)[0] == []
    assert invoke(lambda_client, make_function(TEA, Layers=[layer]))[0] == "green"


def test_a_function_sees_no_layers_but_its_own(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory, mounts: None
) -> None:
    mine, other = publish.arn({"mine": ""}), publish.arn({"other": ""})
    with_other = make_function(LISTS_OPT, Layers=[other])
    with_mine = make_function(LISTS_OPT, Layers=[mine])
    without = make_function(LISTS_OPT)
    found = [invoke(lambda_client, name)[0] for name in (with_other, with_mine, without)]
    assert found == [["other"], ["mine"], []]


def test_links_that_lead_out_once_merged_fail_the_function_and_name_the_link(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    climb = publish.arn({}, Content={"ZipFile": with_links({"a/b/climb": "c/real/../../../.."})})
    flat = {"a/b/c": "../../flat", "flat/real": "../flat"}
    flatten = publish.arn({}, Content={"ZipFile": with_links(flat)})
    assert (
        invoke(
            lambda_client,
            make_function(TEA.replace("tea", "os").replace("KIND", "name"), Layers=[climb]),
        )[0]
        == "posix"
    )
    with pytest.raises(WaiterError, match="FunctionActiveV2"):
        make_function(TEA, FunctionName="climber", Layers=[climb, flatten])
    state = lambda_client.get_function_configuration(FunctionName="climber")
    lambda_client.delete_function(FunctionName="climber")
    assert state["State"] == "Failed"
    assert "'a/b/climb' leads out" in state["StateReason"]


def with_links(links: dict[str, str]) -> bytes:
    """A zip of symbolic links."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, target in links.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return buffer.getvalue()
